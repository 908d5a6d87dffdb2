#include "engine/resources/descriptors/pidfds/pidfds.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {

// Older kernels show an anonymous inode, newer ones a file of pidfs.
bool PidfdKind::recognises(const TableCapture& table, const Seen& seen) {
  if (!seen.is_anonymous("[pidfd]") && !seen.link.starts_with("pidfd:")) return false;
  const auto pid = seen.info.find("Pid");
  const bool shared =
      seen.numbers.empty() ? table.processes.size() > 1 : seen.numbers.back().process != seen.first_process();
  return pid && !shared && parse_number(*pid) == static_cast<std::uint64_t>(table.holder(seen).pid);
}

void PidfdKind::capture(TableCapture& /*table*/, const Seen& /*seen*/, Description& description) {
  description.mutable_pidfd();
}

void PidfdKind::check(TableCheck& /*table*/, const Description& /*description*/) {}  // nothing can be wrong with it

FileDescriptor PidfdKind::open(TableRestore& /*table*/, const Description& /*description*/) {
  FileDescriptor opened(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!opened) fail_errno(errno, "cannot open a pidfd of the program itself");
  return opened;
}

}  // namespace crs::engine
