// Processes outside the snapshot: what is taken from an object and put back would be missed by those that use it
// meanwhile.
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>
#include <vector>

#include "engine/resources/context.h"

namespace crs::engine {

// The processes that are none of `members` and for which `concerns` holds. This one does not count, nor do crs's
// helpers and what it has made as children of the members (tracee/memory_sharer.h); nor who has ended or may not be
// looked at: `concerns` may throw an Error for such. Throws where /proc cannot be read.
std::vector<pid_t> find_outsiders(std::span<const CapturedProcess> members, const std::function<bool(pid_t)>& concerns);

// Calls `look` with the path of each link /proc/PID/fd/N; where the main thread has ended, those of the other threads.
// Returns whether this user may see them: not of processes of others. Throws where they cannot be read for another
// reason than that the process has ended.
bool for_each_open_link(pid_t pid, const std::function<void(const char* link)>& look);

}  // namespace crs::engine
