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

std::vector<std::size_t> all_of(const ExtentReader& reader) {
  std::vector<std::size_t> numbers(reader.extents().size());
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

// Extents that one thread loads one behind the other: neighbours, so that no two threads make the same huge page,
// which both would fill with zeros first.
std::size_t extents_at_a_time(std::size_t extents, unsigned threads) {
  constexpr std::size_t kMost = 16;
  return std::clamp<std::size_t>(extents / (std::size_t{4} * threads), 1, kMost);
}

}  // namespace

PageLoader::PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed)
    : PageLoader(reader, allowed, all_of(reader)) {}

PageLoader::PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed,
                       std::span<const std::size_t> extents)
    : reader_(&reader), numbers_(extents.begin(), extents.end()) {
  const PageRuns places = merged(allowed);
  for (const std::size_t number : numbers_) {
    extents_.push_back(in_context(fmt::format("page data, extent {}", number),
                                  [&] { return checked_pages(reader.extents()[number], places); }));
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

std::span<const std::byte> PageLoader::read(std::size_t extent, PageBuffer& buffer) const {
  const std::uint64_t bytes = reader_->extents()[numbers_[extent]].payload_bytes;
  buffer.reserve(bytes);
  const std::span<std::byte> payload = buffer.first(bytes);
  reader_->read(numbers_[extent], payload);
  return extents_[extent].gather(payload);
}

void PageLoader::load(const RemoteMemory& target, unsigned threads) const {
  std::vector<std::size_t> all(extents_.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  load(target, std::move(all), threads);
}

void PageLoader::load(const RemoteMemory& target, std::vector<std::size_t> extents, unsigned threads) const {
  // Of an extent whose pages have all been replaced there is nothing to load.
  std::erase_if(extents, [&](std::size_t extent) { return extents_[extent].runs.empty(); });
  std::ranges::sort(extents, {}, [&](std::size_t extent) { return extents_[extent].runs.front().start; });
  if (threads == 0) threads = threads_for_disk();
  const std::size_t group = extents_at_a_time(extents.size(), threads);
  for_each_in_parallel((extents.size() + group - 1) / group,
                       [&](std::size_t number) {
                         // One buffer for all of them: fresh memory for each would cost more than reading into it.
                         PageBuffer buffer;
                         const std::size_t end = std::min(extents.size(), (number + 1) * group);
                         for (std::size_t i = number * group; i < end; ++i)
                           write_runs(target, extents_[extents[i]].runs, read(extents[i], buffer));
                       },
                       threads);
}

}  // namespace crs::engine
