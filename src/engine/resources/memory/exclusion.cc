#include "engine/resources/memory/exclusion.h"

#include <algorithm>

#include "base/error.h"
#include "base/excluded_areas.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/guard_pages.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kRedZone = 128;  // below the stack pointer (System V ABI, AMD64)

[[noreturn]] void refuse(RemoteRange range, std::string_view why) {
  throw Error(ErrorKind::Failed,
              fmt::format("the memory at {:#x}-{:#x} cannot be left out: {}", range.start.value, range.end.value, why))
      .advise("Only anonymous memory can, private or shared, that no thread uses as its stack (/proc/PID/maps)");
}

}  // namespace

PageRuns whole_pages_of(const std::vector<MemoryRange>& wished) {
  std::vector<RemoteRange> ranges;
  for (const MemoryRange& range : wished) {
    if (range.start >= range.end || range.end > kAddressLimit.value) {
      throw Error(ErrorKind::Usage,
                  fmt::format("{:#x}-{:#x} is no range of a program's addresses", range.start, range.end))
          .advise("/proc/PID/maps lists those that there are");
    }
    const RemoteRange pages{{(range.start + kPageSize - 1) / kPageSize * kPageSize},
                            {range.end / kPageSize * kPageSize}};
    if (pages.start < pages.end) ranges.push_back(pages);
  }
  std::ranges::sort(ranges, {}, &RemoteRange::start);
  PageRuns runs;
  for (RemoteRange range : ranges) {
    if (!runs.empty()) range.start = std::max(range.start, runs.back().end);
    if (range.start < range.end) append_run(runs, range);
  }
  check_excluded_count(runs.size());
  return runs;
}

void check_not_in_use(const PageRuns& excluded, const std::vector<StoppedThread>& threads) {
  for (const RemoteRange& range : excluded) {
    for (const StoppedThread& thread : threads) {
      const RemoteAddress stack{thread.registers.rsp};
      if (range.contains(stack) || range.contains(stack - kRedZone))
        refuse(range, fmt::format("the stack of thread {} is there", thread.tid));
      if (range.contains({thread.registers.fs_base}))
        refuse(range, fmt::format("the thread-local storage of thread {} is there", thread.tid));
    }
  }
}

void ExclusionCheck::area(const MappedArea& area, std::string_view obstacle) {
  for (const RemoteRange& part : common_parts(area.range, excluded_)) {
    if (!obstacle.empty()) refuse(part, fmt::format("it is {}", obstacle));
    append_run(found_, part);
  }
}

void ExclusionCheck::finish() {
  for (const RemoteRange& range : excluded_) {
    for (const RemoteRange& missing : other_parts(range, found_)) refuse(missing, "the program has no memory there");
  }
}

}  // namespace crs::engine
