// Saying beforehand whether a program can be checkpointed: `crs checkpoint --dry-run` and `crs check JOB|PID`.
#pragma once

#include "cli/context.h"
#include "cli/jobs.h"
#include "crs/component.hpp"

namespace crs::cli {

// The checkpointer to use for a process other than the caller. Throws if the selected one cannot.
Selection select_for_others(Context& context);

// Looks at the program as a checkpoint with `options` would, and prints what was found; throws what would be refused.
// `options.remembered_path` is set here. Returns an exit status.
int examine_program(Context& context, const Target& target, CheckpointOptions options);

}  // namespace crs::cli
