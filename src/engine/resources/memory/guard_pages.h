// Guard pages (MADV_GUARD_INSTALL, Linux 6.13): who touches one gets SIGSEGV, and so does who reads it from outside. In
// a shared mapping they only cover what is there: other mappings of the same memory still show it.
#pragma once

#include "engine/pages/page_runs.h"
#include "engine/pages/page_scan.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

PageRuns guards_in(const Pagemap& pagemap, RemoteRange range);

// A second mapping of a shared area of the program, without its guard pages: for reading what they cover. If this
// process dies while there is one, it stays in the program, which does not know of it.
class UnguardedView {
 public:
  // Throws if the program may not map any more.
  UnguardedView(RemoteCaller& remote, RemoteRange area);
  ~UnguardedView();
  UnguardedView(const UnguardedView&) = delete;
  UnguardedView& operator=(const UnguardedView&) = delete;

  // Where what lies at `address` of the area is seen.
  RemoteAddress of(RemoteAddress address) const { return view_.start + (address - area_.start); }

 private:
  RemoteCaller& remote_;
  RemoteRange area_;
  RemoteRange view_;
};

}  // namespace crs::engine
