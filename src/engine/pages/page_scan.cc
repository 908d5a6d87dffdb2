#include "engine/pages/page_scan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <span>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/pagemap_scan.h"

namespace crs::engine {
namespace {

// An entry of /proc/PID/pagemap.
constexpr std::uint64_t kEntryPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kEntrySwapped = std::uint64_t{1} << 62;
constexpr std::uint64_t kEntryFile = std::uint64_t{1} << 61;
constexpr std::uint64_t kEntryGuard = std::uint64_t{1} << 58;

pagemap_scan::Arguments own_pages(RemoteRange range, bool sees_guards) {
  pagemap_scan::Arguments arguments;
  arguments.start = range.start.value;
  arguments.end = range.end.value;
  arguments.inverted = arguments.all_of = pagemap_scan::kIsFile | pagemap_scan::kIsZeroPage;
  arguments.any_of = pagemap_scan::kIsPresent | pagemap_scan::kIsSwapped;
  arguments.returned = pagemap_scan::kIsPresent | pagemap_scan::kIsSwapped;
  if (sees_guards) {
    arguments.any_of |= pagemap_scan::kIsGuard;
    arguments.returned |= pagemap_scan::kIsGuard;
  }
  return arguments;
}

bool accepts(int pagemap, bool with_guards) {
  pagemap_scan::Arguments arguments = own_pages({{0}, {0}}, with_guards);
  return ::ioctl(pagemap, pagemap_scan::kRequest, &arguments) >= 0;
}

// Of the kernel: what it can do once it can always do. That it cannot may as well be the end of this one process.
bool can_scan(int pagemap) {
  static std::atomic<bool> can = false;
  if (!can && accepts(pagemap, false)) can = true;
  return can;
}

bool can_see_guards(int pagemap) {
  static std::atomic<bool> can = false;
  if (!can && accepts(pagemap, true)) can = true;
  return can;
}

}  // namespace

Pagemap::Pagemap(pid_t pid, bool use_scan)
    : pid_(pid),
      file_(open_file(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)),
      scans_(use_scan && can_scan(file_.get())),
      sees_guards_(scans_ && can_see_guards(file_.get())) {}

std::uint64_t Pagemap::bytes_there(RemoteRange range) const {
  std::array<pagemap_scan::Region, 512> regions;
  pagemap_scan::Arguments arguments;
  arguments.any_of = arguments.returned = pagemap_scan::kIsPresent | pagemap_scan::kIsSwapped;
  arguments.regions = reinterpret_cast<std::uint64_t>(regions.data());
  arguments.region_count = regions.size();
  arguments.end = range.end.value;
  std::uint64_t bytes = 0;
  for (arguments.start = range.start.value; arguments.start < arguments.end; arguments.start = arguments.walk_end) {
    const int count = ::ioctl(file_.get(), pagemap_scan::kRequest, &arguments);
    if (count < 0) fail_errno(errno, "cannot scan the pages of process {} at {:#x}", pid_, arguments.start);
    for (const pagemap_scan::Region& region : std::span(regions).first(static_cast<std::size_t>(count)))
      bytes += region.end - region.start;
    if (arguments.walk_end <= arguments.start) break;
  }
  return bytes;
}

bool PageScan::next(PageRange& found) {
  while (given_ == found_.size()) {
    if (position_ >= end_) return false;
    refill();
  }
  found = found_[given_++];
  return true;
}

void PageScan::refill() {
  found_.clear();
  given_ = 0;
  if (pagemap_->scans_) {
    refill_by_scan();
  } else {
    refill_by_reading();
  }
}

void PageScan::refill_by_scan() {
  std::array<pagemap_scan::Region, 512> regions;
  pagemap_scan::Arguments arguments = own_pages({position_, end_}, pagemap_->sees_guards_);
  arguments.regions = reinterpret_cast<std::uint64_t>(regions.data());
  arguments.region_count = regions.size();
  const int count = ::ioctl(pagemap_->file_.get(), pagemap_scan::kRequest, &arguments);
  if (count < 0) fail_errno(errno, "cannot scan the pages of process {} at {:#x}", pagemap_->pid_, position_.value);
  for (pagemap_scan::Region region : std::span(regions).first(static_cast<std::size_t>(count))) {
    // Of a program that runs meanwhile a region may reach beyond where the scan says it has come.
    region.start = std::max(region.start, reported_);
    if (region.start >= region.end) continue;
    reported_ = region.end;
    const PageKind kind = (region.categories & pagemap_scan::kIsGuard) != 0 ? PageKind::Guard : PageKind::Own;
    found_.push_back({{{region.start}, {region.end}}, kind});
  }
  if (arguments.walk_end <= position_.value) {
    fail(ErrorKind::Failed, "the scan of the pages of process {} does not get beyond {:#x}", pagemap_->pid_,
         position_.value);
  }
  position_ = {std::min(arguments.walk_end, end_.value)};
}

void PageScan::refill_by_reading() {
  std::array<std::uint64_t, 4096> entries;
  const std::uint64_t wanted = std::min<std::uint64_t>(entries.size(), (end_ - position_) / kPageSize);
  const ssize_t got = ::pread(pagemap_->file_.get(), entries.data(), wanted * sizeof(std::uint64_t),
                              static_cast<off_t>(position_.value / kPageSize * sizeof(std::uint64_t)));
  if (got < 0) fail_errno(errno, "cannot read the page map of process {} at {:#x}", pagemap_->pid_, position_.value);
  if (got == 0)
    fail(ErrorKind::ProgramGone, "process {} has no page map at {:#x}: it ended meanwhile", pagemap_->pid_,
         position_.value);
  for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(std::uint64_t);
       ++i, position_ = position_ + kPageSize) {
    const bool exists = (entries[i] & (kEntryPresent | kEntrySwapped)) != 0 && (entries[i] & kEntryFile) == 0;
    const bool guard = (entries[i] & kEntryGuard) != 0;
    if (!exists && !guard) continue;
    const PageKind kind = guard ? PageKind::Guard : PageKind::Own;
    if (!found_.empty() && found_.back().range.end == position_ && found_.back().kind == kind) {
      found_.back().range.end = position_ + kPageSize;
    } else {
      found_.push_back({{position_, position_ + kPageSize}, kind});
    }
  }
}

}  // namespace crs::engine
