// Whether a process is one that can be checkpointed at all: what can be told from /proc before it is touched.
#pragma once

#include <sys/types.h>

#include "engine/resources/context.h"

namespace crs::engine {

// Throws if `pid` does not exist (NotFound), is this process itself, has ended, or is a kernel thread.
void check_is_program(pid_t pid);

// Adds to `refusals` what rules out a checkpoint of the whole process: children, a debugger, seccomp, a foreign namespace, 32-bit code.
// Also called while the process is stopped, since it may have changed.
void refuse_unsuitable(pid_t pid, Refusals& refusals);

// Whether `pid` runs below a CRS init, in namespaces that a restart made.
bool in_private_namespace(pid_t pid);

}  // namespace crs::engine
