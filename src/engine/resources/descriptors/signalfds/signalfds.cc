#include "engine/resources/descriptors/signalfds/signalfds.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {

bool SignalfdKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  return seen.is_anonymous("[signalfd]");
}

void SignalfdKind::capture(TableCapture& /*table*/, const Seen& seen, Description& description) {
  description.mutable_signalfd()->set_mask(seen.info.number("sigmask", 16));
}

void SignalfdKind::check(TableCheck& /*table*/, const Description& /*description*/) {}  // every mask is a mask

FileDescriptor SignalfdKind::open(TableRestore& /*table*/, const Description& description) {
  // The kernel's own call: the C library's sigset_t cannot name its internal signals.
  const std::uint64_t mask = description.signalfd().mask();
  FileDescriptor opened(static_cast<int>(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, 0)));
  if (!opened) fail_errno(errno, "cannot make a signalfd");
  return opened;
}

}  // namespace crs::engine
