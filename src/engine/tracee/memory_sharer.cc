#include "engine/tracee/memory_sharer.h"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cerrno>

#include "base/error.h"
#include "engine/tracee/ptrace.h"

namespace crs::engine {
namespace {

constexpr unsigned long kSharerOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE;

}  // namespace

MemorySharer::MemorySharer(BorrowedThread& parent) : parent_(parent), pid_(parent.make_sharer()) {
  try {
    ptrace::wait_for_stop(pid_);
    ptrace::set_options(pid_, kSharerOptions | parent_.call_options());
    // An empty table of its own: closing all while leaving the shared one copies nothing (close_range(2)).
    const std::int64_t result = call(SYS_close_range, {0, ~0U, CLOSE_RANGE_UNSHARE, 0, 0, 0});
    if (result < 0) fail_errno(static_cast<int>(-result), "close_range");
  } catch (...) {
    ptrace::end(pid_);
    parent_.reap_sharer();
    throw;
  }
}

MemorySharer::~MemorySharer() {
  ptrace::end(pid_);
  try {
    parent_.reap_sharer();
  } catch (const Error&) {  // the program is gone
  }
}

std::int64_t MemorySharer::call(long number, const std::array<std::uint64_t, 6>& arguments) {
  return ptrace::make_system_call(pid_, parent_.sharer_registers(), number, arguments).value;
}

// Its options (PTRACE_O_EXITKILL) are the sharer's from its first instant on; and like the sharer, it would end at once
// if it were let go.
pid_t MemorySharer::make_copy() {
  const user_regs_struct at = parent_.sharer_registers();
  const pid_t copy = ptrace::created_by(
      ptrace::make_system_call(pid_, at, SYS_clone, {CLONE_FILES | CLONE_FS, at.rsp, 0, 0, 0, 0}), parent_.tid());
  try {
    ptrace::wait_for_stop(copy);
    // Out of reach of signals to the program's process group.
    ptrace::make_system_call(copy, at, SYS_setsid, {});
  } catch (...) {
    ptrace::end(copy);
    throw;
  }
  return copy;
}

FileDescriptor MemorySharer::take_descriptor(int number) const {
  const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!process) fail_errno(errno, "pidfd_open of process {}", pid_);
  FileDescriptor taken(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
  if (!taken) fail_errno(errno, "pidfd_getfd of descriptor {} of process {}", number, pid_);
  return taken;
}

}  // namespace crs::engine
