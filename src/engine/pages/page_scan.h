// Which pages of another process exist: PAGEMAP_SCAN (Linux 6.7), or /proc/PID/pagemap where the kernel lacks it.
// See Documentation/admin-guide/mm/pagemap.rst.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {

// The pages of one process. Not changed by scans: several may be under way, each used by one thread at a time.
class Pagemap {
 public:
  // `pid` as the caller sees it; needs ptrace access. `use_scan` false: reads the old interface even if there is the
  // new one.
  explicit Pagemap(pid_t pid, bool use_scan = true);

  // False: only the old interface is there.
  bool scans() const noexcept { return scans_; }

  // About how much of `range` is in memory or swapped, in bytes, whosever it is and pages of zeros included: found much
  // sooner than by a PageScan. scans() is true.
  std::uint64_t bytes_there(RemoteRange range) const;

 private:
  friend class PageScan;
  pid_t pid_;
  FileDescriptor file_;
  bool scans_;
  bool sees_guards_;
};

enum class PageKind {
  Own,    // in memory or swapped, and neither a page of the mapped file nor the common page of zeros
  Guard,  // MADV_GUARD_INSTALL; seen from Linux 6.15 on
};

struct PageRange {
  RemoteRange range;
  PageKind kind = PageKind::Own;
};

// Goes once over a range of addresses. Holds a bounded piece of the result at a time, whatever the size of the range.
class PageScan {
 public:
  // `pagemap` must outlive this. The range may have gaps and any number of areas.
  PageScan(const Pagemap& pagemap, RemoteRange range) : pagemap_(&pagemap), position_(range.start), end_(range.end) {}

  // The next pages, ascending; adjacent ones of one kind come as one range or as several. False: there are no more.
  bool next(PageRange& found);

 private:
  void refill();
  void refill_by_scan();
  void refill_by_reading();

  const Pagemap* pagemap_;
  RemoteAddress position_;  // up to here everything is in found_
  RemoteAddress end_;
  std::uint64_t reported_ = 0;  // up to here
  std::vector<PageRange> found_;
  std::size_t given_ = 0;
};

}  // namespace crs::engine
