#include "engine/pages/page_loader.h"

#include <algorithm>

#include "base/error.h"
#include "base/parallel.h"
#include "engine/pages/page_saver.h"
#include "engine/pages/page_transfer.h"

namespace crs::engine {
namespace {

PageRuns merged(const std::vector<RemoteRange>& ranges) {
  PageRuns runs;
  for (const RemoteRange& range : ranges) append_run(runs, range);
  return runs;
}

bool lies_in(const RemoteRange& run, const PageRuns& allowed) {
  const auto behind = std::ranges::upper_bound(allowed, run.start, {}, &RemoteRange::start);
  return behind != allowed.begin() && run.end <= std::prev(behind)->end;
}

ExtentPages checked_pages(const Extent& extent, const PageRuns& allowed) {
  ExtentPages pages = decode_pages(extent.tag, extent.payload_bytes);
  for (const RemoteRange& run : pages.runs) {
    if (!lies_in(run, allowed)) {
      fail(ErrorKind::Damaged, "it holds pages {:#x}-{:#x} outside the program's memory", run.start.value,
           run.end.value);
    }
  }
  return pages;
}

}  // namespace

PageLoader::PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed) : reader_(&reader) {
  const PageRuns places = merged(allowed);
  for (const Extent& extent : reader.extents()) {
    extents_.push_back(in_context(fmt::format("page data, extent {}", extents_.size()),
                                  [&] { return checked_pages(extent, places); }));
    pages_ += total_bytes(extents_.back().runs) / kPageSize;
  }
}

std::vector<bool> PageLoader::touched(const std::vector<RemoteRange>& areas) const {
  std::vector<bool> result(areas.size());
  for (const ExtentPages& extent : extents_) {
    for (const RemoteRange& run : extent.runs) {
      auto area = std::ranges::upper_bound(areas, run.start, {}, &RemoteRange::end);
      for (; area != areas.end() && area->overlaps(run); ++area)
        result[static_cast<std::size_t>(area - areas.begin())] = true;
    }
  }
  return result;
}

void PageLoader::load(const RemoteMemory& target, unsigned threads) const {
  for_each_in_parallel(
      extents_.size(),
      [&](std::size_t number) {
        if (extents_[number].runs.empty()) return;
        std::vector<std::byte> payload(reader_->extents()[number].payload_bytes);
        reader_->read(number, payload);
        write_runs(target, extents_[number].runs, extents_[number].gather(payload));
      },
      threads);
}

}  // namespace crs::engine
