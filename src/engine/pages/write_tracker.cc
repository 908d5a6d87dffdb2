#include "engine/pages/write_tracker.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/pagemap_scan.h"
#include "engine/tracee/memory_sharer.h"

namespace crs::engine {
namespace {

// linux/userfaultfd.h of Linux 6.7.
constexpr std::uint64_t kFeatureUnpopulated = 1 << 13;   // UFFD_FEATURE_WP_UNPOPULATED
constexpr std::uint64_t kFeatureAsynchronous = 1 << 15;  // UFFD_FEATURE_WP_ASYNC

// The address space is locked for so much at a time only: system calls of the program that change it wait meanwhile.
constexpr std::uint64_t kPiece = std::uint64_t{64} << 20;

// In the sharer, whose descriptors are its own.
FileDescriptor make_userfault(BorrowedThread& borrowed) {
  MemorySharer sharer(borrowed);
  const std::int64_t number = sharer.call(SYS_userfaultfd, {kTrackerFlags, 0, 0, 0, 0, 0});
  if (number < 0) fail_errno(static_cast<int>(-number), "userfaultfd");
  return sharer.take_descriptor(static_cast<int>(number));
}

// Calls `action` with pieces of `range` that hold all pages that are there. What is empty is passed over at once,
// however large it is: a program with a sanitizer in it reserves terabytes, which would be hundreds of thousands of
// pieces.
template <typename Action>
void in_pieces(int pagemap, RemoteRange range, Action action) {
  constexpr std::uint64_t kFirstLook = std::uint64_t{1} << 30;  // the address space is locked for as long as one takes
  std::uint64_t look = kFirstLook;
  pagemap_scan::Region first{};
  pagemap_scan::Arguments arguments;
  arguments.regions = reinterpret_cast<std::uint64_t>(&first);
  arguments.region_count = arguments.max_pages = 1;
  arguments.any_of = arguments.returned = pagemap_scan::kIsPresent | pagemap_scan::kIsSwapped;
  while (range.start < range.end) {
    arguments.start = range.start.value;
    arguments.end = range.start.value + std::min(look, range.size());
    const int count = ::ioctl(pagemap, pagemap_scan::kRequest, &arguments);
    if (count == 0) {
      range.start.value = arguments.end;
      look *= 2;  // nothing at all is there, as a rule
      continue;
    }
    look = kFirstLook;
    // Where that cannot be said, nothing is passed over.
    if (count > 0) range.start.value = std::clamp(first.start, range.start.value, range.end.value);
    const RemoteRange piece{range.start, range.start + std::min(kPiece, range.size())};
    action(piece);
    range.start = piece.end;
  }
}

// Calls `found` with every region of `range` that matches; `arguments` has the masks.
//
// Where there are many regions, the kernel says that it came less far than it did, and comes to the last ones again: of
// a program that runs it may then find others there, and the regions neither ascend nor are they apart.
template <typename Found>
void scan(int pagemap, pid_t pid, RemoteRange range, pagemap_scan::Arguments arguments, Found found) {
  std::array<pagemap_scan::Region, 1024> regions;
  arguments.regions = reinterpret_cast<std::uint64_t>(regions.data());
  arguments.region_count = regions.size();
  arguments.end = range.end.value;
  for (arguments.start = range.start.value; arguments.start < arguments.end; arguments.start = arguments.walk_end) {
    const int count = ::ioctl(pagemap, pagemap_scan::kRequest, &arguments);
    if (count < 0) fail_errno(errno, "cannot scan the pages of process {} at {:#x}", pid, arguments.start);
    for (const pagemap_scan::Region& region : std::span(regions).first(static_cast<std::size_t>(count))) found(region);
    if (arguments.walk_end <= arguments.start)
      fail(ErrorKind::Failed, "the scan of the pages of process {} does not get beyond {:#x}", pid, arguments.start);
  }
}

// In order, and each page once.
PageRuns merged(PageRuns runs) {
  std::ranges::sort(runs, {}, &RemoteRange::start);
  PageRuns result;
  for (const RemoteRange& run : runs) {
    if (!result.empty() && run.start <= result.back().end) {
      result.back().end = std::max(result.back().end, run.end);
    } else {
      result.push_back(run);
    }
  }
  return result;
}

}  // namespace

WriteTracker::WriteTracker(BorrowedThread& borrowed)
    : WriteTracker(borrowed.memory().pid(), make_userfault(borrowed)) {}

WriteTracker::WriteTracker(pid_t pid, FileDescriptor userfault) : pid_(pid), userfault_(std::move(userfault)) {
  handshake();
  open_pagemap();
}

WriteTracker::WriteTracker(pid_t pid, FileDescriptor userfault, PageRuns areas)
    : pid_(pid), userfault_(std::move(userfault)), areas_(std::move(areas)) {
  open_pagemap();
}

FileDescriptor WriteTracker::give_up() noexcept {
  areas_.clear();
  return std::move(userfault_);
}

void WriteTracker::open_pagemap() {
  pagemap_ = open_file(fmt::format("/proc/{}/pagemap", pid_), O_RDONLY);
  pagemap_scan::Arguments nothing;
  nothing.any_of = nothing.returned = pagemap_scan::kIsGuard;
  sees_guards_ = ::ioctl(pagemap_.get(), pagemap_scan::kRequest, &nothing) >= 0;
}

void WriteTracker::handshake() const {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureAsynchronous | kFeatureUnpopulated;
  if (::ioctl(userfault_.get(), UFFDIO_API, &api) != 0) fail_errno(errno, "UFFDIO_API");
}

// While it is armed, the whole of an area is disarmed under the exclusive lock of the address space (close of the last
// descriptor, or UFFDIO_UNREGISTER); so that is done before, in pieces and under the shared one.
WriteTracker::~WriteTracker() {
  for (const RemoteRange& area : areas_) {
    in_pieces(pagemap_.get(), area, [&](RemoteRange piece) {
      uffdio_writeprotect disarm{.range = {piece.start.value, piece.size()}, .mode = 0};
      ::ioctl(userfault_.get(), UFFDIO_WRITEPROTECT, &disarm);  // what is gone needs it no more
    });
    uffdio_range range{area.start.value, area.size()};
    ::ioctl(userfault_.get(), UFFDIO_UNREGISTER, &range);
  }
}

bool WriteTracker::track(RemoteRange area) {
  uffdio_register request{};
  request.range = {area.start.value, area.size()};
  request.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(userfault_.get(), UFFDIO_REGISTER, &request) != 0) return false;
  // An area that was tracked before may have grown since.
  const PageRuns fresh = other_parts(area, areas_);
  areas_.insert(areas_.end(), fresh.begin(), fresh.end());
  std::ranges::sort(areas_, {}, &RemoteRange::start);
  return true;
}

// Only pages that are there: arming what is not would fill page tables for all of a sparse area.
PageRuns WriteTracker::arm(RemoteRange range) {
  PageRuns armed;
  pagemap_scan::Arguments arguments;
  arguments.flags = pagemap_scan::kProtectMatching;
  arguments.all_of = pagemap_scan::kIsWritten | pagemap_scan::kIsTracked;
  arguments.any_of = pagemap_scan::kIsPresent | pagemap_scan::kIsSwapped;
  arguments.returned = pagemap_scan::kIsWritten;
  in_pieces(pagemap_.get(), range, [&](RemoteRange piece) {
    scan(pagemap_.get(), pid_, piece, arguments,
         [&](const pagemap_scan::Region& region) { append_run(armed, {{region.start}, {region.end}}); });
  });
  return merged(std::move(armed));
}

// Most of it is still as it was armed. The kernel passes over that fastest where it has nothing to report, so it is
// asked for all that may be otherwise: gone or swapped (not present), written, or not tracked.
WriteTracker::View WriteTracker::look(RemoteRange range) const {
  using namespace pagemap_scan;
  const std::uint64_t guard = sees_guards_ ? kIsGuard : 0;
  pagemap_scan::Arguments arguments;
  arguments.inverted = kIsTracked | kIsPresent;
  arguments.any_of = arguments.inverted | kIsWritten;
  arguments.returned = arguments.any_of | kIsSwapped | guard;
  View view;
  scan(pagemap_.get(), pid_, range, arguments, [&](Region region) {
    region.start = std::max(region.start, range.start.value);  // up to there it was seen before
    if (region.start >= region.end) return;
    if (range.start.value < region.start) append_run(view.unchanged, {range.start, {region.start}});
    range.start.value = region.end;
    const auto is = [&](std::uint64_t category) { return (region.categories & category) != 0; };
    if (!is(kIsPresent | kIsSwapped | guard)) return;
    append_run(is(guard)         ? view.guards
               : !is(kIsTracked) ? view.untracked
               : is(kIsWritten)  ? view.changed
                                 : view.unchanged,
               {{region.start}, {region.end}});
  });
  if (range.start < range.end) append_run(view.unchanged, range);
  return view;
}

}  // namespace crs::engine
