// Landlock: a sandbox that a thread puts itself in, for good (landlock(7)). No interface shows that a thread is in one.
#pragma once

#include "engine/procfs/status.h"
#include "engine/resources/context.h"

namespace crs::engine {

// Refuses a process whose main thread is known to be in a sandbox that this process is not in. Where it cannot be known
// nothing is said. `status` is the main thread's.
void refuse_landlock(CaptureContext& context, const ProcessStatus& status);

}  // namespace crs::engine
