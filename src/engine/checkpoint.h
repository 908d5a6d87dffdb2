// A checkpoint: freezes a running program, writes what it is into a snapshot's directory, and lets it go on.
#pragma once

#include <sys/types.h>

#include "crs/component.hpp"

namespace crs::engine {

// Takes a snapshot of process `pid` (as the caller sees it) and commits it to `sink`. The program is left as the
// options say; if this throws, nothing is committed and the program goes on. Must be called by the thread that may
// trace (any thread, but only one), with no other use of SIGCHLD in the calling process meanwhile.
CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options);

// Throws what checkpoint() would refuse of the program, and lets it go on as it was. Nothing is written but what
// CheckpointOptions::remembered_path is for. The same conditions.
Examination examine(pid_t pid, const CheckpointOptions& options);

}  // namespace crs::engine
