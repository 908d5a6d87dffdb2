#include "engine/resources/descriptors/signal_owner.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {

void capture_signal_owner(TableCapture& table, const Seen& seen, image::OpenDescription& description) {
  f_owner_ex owner{};
  if (seen.is_path_only() || ::fcntl(seen.copy.get(), F_GETOWN_EX, &owner) != 0 || owner.pid == 0) return;
  if (owner.pid != table.context.pid || owner.type == F_OWNER_PGRP) {
    if ((seen.flags & O_ASYNC) == 0) return;
    table.context.warnings.push_back(
        fmt::format("the signals that {} asked for (O_ASYNC) went to {} {}: after a restart nobody gets them",
                    table.name_of(seen), owner.type == F_OWNER_PGRP ? "process group" : "process", owner.pid));
    return;
  }
  image::SignalOwner& kept = *description.mutable_owner();
  kept.set_main_thread_only(owner.type == F_OWNER_TID);
  kept.set_signal(std::max(0, ::fcntl(seen.copy.get(), F_GETSIG)));
}

void check_signal_owner(const image::OpenDescription& description) {
  if (!description.has_owner()) return;
  const int signal = description.owner().signal();
  if (signal < 0 || signal > SIGRTMAX)
    fail(ErrorKind::Damaged, "the snapshot has a descriptor with signal {} that cannot be", signal);
}

void restore_signal_owner(int descriptor, const image::OpenDescription& description) {
  if (!description.has_owner()) return;
  const f_owner_ex owner{description.owner().main_thread_only() ? F_OWNER_TID : F_OWNER_PID, ::getpid()};
  const bool set =
      ::fcntl(descriptor, F_SETOWN_EX, &owner) == 0 && ::fcntl(descriptor, F_SETSIG, description.owner().signal()) == 0;
  if (!set) fail_errno(errno, "cannot ask for signals on descriptor {}", descriptor);
  if ((description.status_flags() & O_ASYNC) == 0) return;
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_ASYNC) != 0)
    fail_errno(errno, "cannot ask for signals on descriptor {}", descriptor);
}

}  // namespace crs::engine
