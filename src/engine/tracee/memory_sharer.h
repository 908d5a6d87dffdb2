// A process beside a stopped program that shares its memory and nothing else: for system calls that concern the memory
// but would leave a trace in the program's descriptors if a thread of it made them.
//
// It is a child of the program, without a signal at its end, and the program's wait(2) does not find it. It dies with
// this process; the program's borrowed thread then clears it away itself (BorrowedThread::make_sharer).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>

#include "base/file_descriptor.h"
#include "engine/tracee/borrowed_thread.h"

namespace crs::engine {

class MemorySharer {
 public:
  // `parent` must outlive this and is not to be used meanwhile. Throws if there can be no more processes.
  explicit MemorySharer(BorrowedThread& parent);
  // Ends it.
  ~MemorySharer();
  MemorySharer(const MemorySharer&) = delete;
  MemorySharer& operator=(const MemorySharer&) = delete;

  pid_t pid() const noexcept { return pid_; }
  // A result, or -errno.
  std::int64_t call(long number, const std::array<std::uint64_t, 6>& arguments);
  // Takes over the descriptor with that number in the sharer.
  FileDescriptor take_descriptor(int number) const;
  // For Twin: a child with a copy of the memory, stopped and traced, to be ended by the caller.
  pid_t make_copy();

 private:
  BorrowedThread& parent_;
  pid_t pid_;
};

}  // namespace crs::engine
