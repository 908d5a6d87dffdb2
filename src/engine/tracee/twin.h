// A copy of a stopped program's memory, made as fork(2) makes one: page by page only where the program writes on. The
// program may go on while the copy is read.
//
// The copy is a process that never runs. It holds none of the program's descriptors, is no child of the program (its
// maker, a MemorySharer, is gone at once, and then it is init's or that of whoever adopts orphans), is in a session of
// its own, and dies with this process.
#pragma once

#include <sys/types.h>

#include "engine/tracee/borrowed_process.h"

namespace crs::engine {

class Twin {
 public:
  // Throws if the program cannot be copied: no memory or processes left, or the program would be the one to adopt it
  // (PR_SET_CHILD_SUBREAPER). What is in `borrowed`'s scratch memory is not the program's.
  explicit Twin(BorrowedProcess& borrowed);
  // Ends it.
  ~Twin();
  Twin(const Twin&) = delete;
  Twin& operator=(const Twin&) = delete;

  pid_t pid() const noexcept { return pid_; }

 private:
  pid_t pid_;
};

}  // namespace crs::engine
