#include "engine/pages/page_loader.h"

#include <algorithm>
#include <numeric>

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

PageRuns checked_runs(const Extent& extent, const PageRuns& allowed) {
  PageRuns runs = decode_runs(extent.tag);
  if (total_bytes(runs) != extent.payload_bytes) {
    fail(ErrorKind::Damaged, "its list of pages makes up {} bytes, its payload {}", total_bytes(runs),
         extent.payload_bytes);
  }
  for (const RemoteRange& run : runs) {
    if (!lies_in(run, allowed)) {
      fail(ErrorKind::Damaged, "it holds pages {:#x}-{:#x} outside the program's memory", run.start.value,
           run.end.value);
    }
  }
  return runs;
}

std::vector<std::size_t> all_of(const ExtentReader& reader) {
  std::vector<std::size_t> numbers(reader.extents().size());
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace

PageLoader::PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed)
    : PageLoader(reader, allowed, all_of(reader)) {}

PageLoader::PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed,
                       std::span<const std::size_t> extents)
    : reader_(&reader), extents_(extents.begin(), extents.end()) {
  const PageRuns places = merged(allowed);
  for (const std::size_t number : extents_) {
    const Extent& extent = reader.extents()[number];
    runs_.push_back(
        in_context(fmt::format("page data, extent {}", number), [&] { return checked_runs(extent, places); }));
    pages_ += extent.payload_bytes / kPageSize;
  }
}

std::vector<bool> PageLoader::touched(const std::vector<RemoteRange>& areas) const {
  std::vector<bool> result(areas.size());
  for (const PageRuns& runs : runs_) {
    for (const RemoteRange& run : runs) {
      auto area = std::ranges::upper_bound(areas, run.start, {}, &RemoteRange::end);
      for (; area != areas.end() && area->overlaps(run); ++area)
        result[static_cast<std::size_t>(area - areas.begin())] = true;
    }
  }
  return result;
}

void PageLoader::load(const RemoteMemory& target, unsigned threads) const {
  for_each_in_parallel(
      runs_.size(),
      [&](std::size_t number) {
        std::vector<std::byte> payload(reader_->extents()[extents_[number]].payload_bytes);
        reader_->read(extents_[number], payload);
        write_runs(target, runs_[number], payload);
      },
      threads);
}

}  // namespace crs::engine
