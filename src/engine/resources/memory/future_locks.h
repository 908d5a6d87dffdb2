// mlockall(MCL_FUTURE): that memory which is mapped later is locked, too. The kernel shows it nowhere (mlockall(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// 0, MCL_FUTURE or MCL_FUTURE | MCL_ONFAULT: found out by a page that process `pid`, of which `remote` is a stopped
// thread, maps and unmaps.
std::uint32_t future_locks(pid_t pid, RemoteCaller& remote);

// Returns 0 or the errno.
int restore_future_locks(RemoteCaller& remote, std::uint32_t locks);

}  // namespace crs::engine
