// Who outside the snapshot has a pseudo-terminal open. Whoever reads there may wait for the line that is taken out.
#pragma once

#include <sys/types.h>

#include <map>
#include <set>
#include <span>

#include "engine/resources/context.h"

namespace crs::engine {

// Of the terminals of these numbers, those that a process which is none of `members` has open as far as this user sees
// (/proc/PID/fd), or has as its controlling terminal (/proc/PID/stat): that process. This process does not count.
std::map<unsigned, pid_t> find_terminal_outsiders(std::span<const CapturedProcess> members,
                                                  const std::set<unsigned>& terminals);

}  // namespace crs::engine
