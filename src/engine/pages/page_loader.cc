#include "engine/pages/page_loader.h"

#include <algorithm>
#include <numeric>
#include <thread>

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

// Extents that one thread loads one behind the other: neighbours, so that no two threads make the same huge page,
// which both would fill with zeros first.
std::size_t extents_at_a_time(std::size_t extents, unsigned threads) {
  constexpr std::size_t kMost = 16;
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  return std::clamp<std::size_t>(extents / (std::size_t{4} * threads), 1, kMost);
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
  by_address_.resize(runs_.size());
  std::iota(by_address_.begin(), by_address_.end(), std::size_t{0});
  std::ranges::sort(by_address_, {}, [&](std::size_t number) { return runs_[number].front().start; });
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

void PageLoader::load_extent(std::size_t number, const RemoteMemory& target, std::vector<std::byte>& buffer) const {
  const std::uint64_t bytes = reader_->extents()[extents_[number]].payload_bytes;
  if (buffer.size() < bytes) buffer.resize(bytes);
  const std::span<std::byte> payload = std::span(buffer).first(bytes);
  reader_->read(extents_[number], payload);
  write_runs(target, runs_[number], payload);
}

void PageLoader::load(const RemoteMemory& target, unsigned threads) const {
  const std::size_t group = extents_at_a_time(runs_.size(), threads);
  for_each_in_parallel((runs_.size() + group - 1) / group,
                       [&](std::size_t number) {
                         std::vector<std::byte> buffer;
                         const std::size_t end = std::min(runs_.size(), (number + 1) * group);
                         for (std::size_t i = number * group; i < end; ++i) load_extent(by_address_[i], target, buffer);
                       },
                       threads);
}

}  // namespace crs::engine
