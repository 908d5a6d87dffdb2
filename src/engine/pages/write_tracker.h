// Which pages of a running program were written since a moment: userfaultfd in asynchronous write-protect mode and
// PAGEMAP_SCAN (Linux 6.7; Documentation/admin-guide/mm/userfaultfd.rst and pagemap.rst). The kernel notes the first
// write to each armed page and lets the program go on; nothing is delivered to anyone. The program has no descriptor of
// it, and if this process dies, tracking ends with it.
//
// What the kernel does not say is taken for written: only a page that lies in an area which is still tracked, and is
// still armed, has not changed. So memory that was unmapped and mapped anew, moved by mremap (which drops tracking),
// given back by madvise or filled for the first time is never taken for unchanged.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include "base/file_descriptor.h"
#include "engine/pages/page_runs.h"
#include "engine/tracee/borrowed_thread.h"

namespace crs::engine {

// How the descriptor of a tracker is to be made (userfaultfd(2)), which no user needs a privilege for.
inline constexpr int kTrackerFlags = O_CLOEXEC | O_NONBLOCK | 1;  // UFFD_USER_MODE_ONLY

class WriteTracker {
 public:
  // The program is stopped and `borrowed` one of its threads. Throws if this kernel cannot do it.
  explicit WriteTracker(BorrowedThread& borrowed);
  // The program is stopped and `userfault` a userfaultfd of its address space that nobody has used yet.
  WriteTracker(pid_t pid, FileDescriptor userfault);
  // Takes over what another one gave up: `areas` are those that were tracked.
  WriteTracker(pid_t pid, FileDescriptor userfault, PageRuns areas);
  // Ends tracking, in pieces, so that the program does not wait for it.
  ~WriteTracker();
  WriteTracker(const WriteTracker&) = delete;
  WriteTracker& operator=(const WriteTracker&) = delete;

  // The program may run. From now on the area is tracked, though no page of it is armed. False: it cannot be (it is
  // gone, or registered with another userfaultfd).
  bool track(RemoteRange area);
  // The areas of track(), ascending. What of them is not mapped as it was is not tracked any more.
  const PageRuns& areas() const noexcept { return areas_; }
  // Tracking goes on as long as the descriptor is open.
  FileDescriptor give_up() noexcept;

  // Arms every page in `range` (of tracked areas) that is there and not armed, and returns those.
  //
  // The kernel does not see what a device writes into a page for a system call that began before (O_DIRECT): a page may
  // be taken for unchanged only if every thread was stopped after it had been armed and before it was copied.
  PageRuns arm(RemoteRange range);

  // Once the program is stopped, before look(): since it was looked at first it may have executed another program
  // (execve(2)), of which nothing is tracked.
  void look_anew() { open_pagemap(); }

  // What there is now; of a program that runs, each page at a moment of its own.
  struct View {
    PageRuns unchanged;  // tracked and armed
    PageRuns changed;    // tracked and not armed
    PageRuns untracked;
    PageRuns guards;
  };
  View look(RemoteRange range) const;

 private:
  void handshake() const;
  void open_pagemap();

  pid_t pid_;
  FileDescriptor userfault_;
  FileDescriptor pagemap_;
  bool sees_guards_ = false;
  PageRuns areas_;
};

}  // namespace crs::engine
