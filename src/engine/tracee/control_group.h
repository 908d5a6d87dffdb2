// Whether a control group's freezer holds a thread: then nothing stops it either.
#pragma once

#include <sys/types.h>

#include <string>

namespace crs::engine {

// The group that is frozen (a path as /proc/PID/cgroup has it), of either version (cgroups(7)); empty if none is, or if
// it cannot be told.
std::string frozen_group_of(pid_t tid);

}  // namespace crs::engine
