#include "engine/resources/descriptors/pidfds/pidfds.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "engine/newborn/maker.h"

namespace crs::engine {
namespace {

constexpr std::string_view kGone = "-1";  // in the line Pid of /proc/PID/fdinfo (pidfd_open(2))

const CapturedProcess* process_of(const TableCapture& table, const Seen& seen) {
  const auto pid = seen.info.find("Pid");
  const auto process = std::ranges::find_if(table.processes, [&](const CapturedProcess& one) {
    return pid && parse_number(*pid) == static_cast<std::uint64_t>(one.pid);
  });
  return process == table.processes.end() ? nullptr : &*process;
}

// A pidfd can be had of a process alone that is there.
FileDescriptor open_gone() {
  const pid_t child = clone_process(0, 0, 0);
  if (child == 0) ::_exit(0);
  FileDescriptor opened(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  while (::waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  return opened;
}

}  // namespace

// Older kernels show an anonymous inode, newer ones a file of pidfs.
bool PidfdKind::recognises(const TableCapture& table, const Seen& seen) {
  if (!seen.is_anonymous("[pidfd]") && !seen.link.starts_with("pidfd:")) return false;
  // PIDFD_THREAD. One on its way through a socket is opened when there is only the root.
  const bool of_thread = (seen.flags & O_EXCL) != 0;
  if (of_thread || (seen.numbers.empty() && table.processes.size() > 1)) return false;
  return seen.info.find("Pid") == kGone || process_of(table, seen) != nullptr;
}

// A single process may be restarted under another id; those of a tree keep theirs.
void PidfdKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::Pidfd& pidfd = *description.mutable_pidfd();
  const CapturedProcess* const process = process_of(table, seen);
  if (process == nullptr) {
    pidfd.set_gone(true);
  } else if (table.processes.size() > 1) {
    pidfd.set_process(process->own_pid);
  }
}

void PidfdKind::check(TableCheck& /*table*/, const Description& description) {
  const image::Pidfd& pidfd = description.pidfd();
  if (pidfd.process() < 0 || (pidfd.gone() && pidfd.process() != 0))
    fail(ErrorKind::Damaged, "the snapshot has a pidfd of a process that cannot be");
}

FileDescriptor PidfdKind::open(TableRestore& /*table*/, const Description& description) {
  const image::Pidfd& pidfd = description.pidfd();
  if (pidfd.gone()) return open_gone();
  const pid_t pid = pidfd.process() != 0 ? pidfd.process() : ::getpid();
  FileDescriptor opened(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!opened) fail_errno(errno, "cannot open a pidfd of process {}", pid);
  return opened;
}

}  // namespace crs::engine
