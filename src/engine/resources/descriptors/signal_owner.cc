#include "engine/resources/descriptors/signal_owner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

std::string_view kind_of_owner(const f_owner_ex& owner) {
  return owner.type == F_OWNER_PGRP ? "process group" : owner.type == F_OWNER_TID ? "thread" : "process";
}

}  // namespace

void capture_signal_owner(TableCapture& table, const Seen& seen, image::OpenDescription& description) {
  if (seen.is_path_only()) return;
  description.set_signal(std::max(0, ::fcntl(seen.copy.get(), F_GETSIG)));
  // Of an owner that has ended the kernel says the same as of none.
  f_owner_ex owner{};
  if (::fcntl(seen.copy.get(), F_GETOWN_EX, &owner) != 0 || owner.pid == 0) return;
  const bool is_thread = owner.type == F_OWNER_TID;
  const std::optional<std::uint32_t> process =
      owner.type == F_OWNER_PGRP ? std::nullopt : table.find_process(owner.pid);
  if (!process || (!is_thread && owner.pid != table.processes[*process].pid)) {
    if ((seen.flags & O_ASYNC) == 0) return;
    table.context.warnings.push_back(
        fmt::format("the signals that {} asked for (O_ASYNC) went to {} {}: after a restart nobody gets them",
                    table.name_of(seen), kind_of_owner(owner), owner.pid));
    return;
  }
  image::SignalOwner& kept = *description.mutable_owner();
  kept.set_process(*process);
  if (is_thread) kept.set_thread(innermost_id(owner.pid));
}

void check_signal_owner(const image::OpenDescription& description, std::uint32_t processes) {
  const int signal = description.signal();
  const bool no_owner =
      description.has_owner() && (description.owner().thread() < 0 || description.owner().process() >= processes);
  if (signal < 0 || signal > SIGRTMAX || no_owner)
    fail(ErrorKind::Damaged, "the snapshot has a descriptor with signal {} that cannot be", signal);
}

void restore_signal_owner(int descriptor, const image::OpenDescription& description, std::uint32_t process) {
  if (!description.has_owner() || description.owner().process() != process) return;
  const f_owner_ex owner{F_OWNER_PID, ::getpid()};
  if (description.owner().thread() == 0 && ::fcntl(descriptor, F_SETOWN_EX, &owner) != 0)
    fail_errno(errno, "cannot ask for signals on descriptor {}", descriptor);
}

void restore_asynchronous_mode(int descriptor, const image::OpenDescription& description) {
  if (description.signal() != 0 && ::fcntl(descriptor, F_SETSIG, description.signal()) != 0)
    fail_errno(errno, "cannot choose signal {} for descriptor {}", description.signal(), descriptor);
  if ((description.status_flags() & O_ASYNC) == 0) return;
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_ASYNC) != 0)
    fail_errno(errno, "cannot ask for signals on descriptor {}", descriptor);
}

void activate_signal_owner(TableActivation& table, int descriptor, const image::OpenDescription& description) {
  if (description.owner().thread() == 0) return;
  const std::map<pid_t, pid_t>& threads = table.processes[description.owner().process()]->new_ids;
  const auto thread = threads.find(description.owner().thread());
  if (thread == threads.end()) {
    fail(ErrorKind::Damaged, "signals of descriptor {} go to thread {}, which the snapshot does not have", descriptor,
         description.owner().thread());
  }
  RemoteCaller& remote = table.context.remote;
  const RemoteAddress owner = remote.put(f_owner_ex{F_OWNER_TID, thread->second});
  remote.call("fcntl(F_SETOWN_EX)", SYS_fcntl, descriptor, F_SETOWN_EX, owner);
}

}  // namespace crs::engine
