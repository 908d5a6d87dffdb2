// CLOCK_MONOTONIC and CLOCK_BOOTTIME of the program, which go on from the checkpoint in a time namespace of its own
// (time_namespaces(7)).
#pragma once

#include <sys/types.h>

#include "engine/image/process.pb.h"
#include "engine/newborn/clock_start.h"
#include "engine/resources/context.h"

namespace crs::engine {

// Refuses a process in another time namespace than `root`, or whose children would be in another one.
void check_time_namespace(CaptureContext& context, pid_t root);
// The program is frozen; all of its processes are in the time namespace of `root`.
void capture_clocks(pid_t root, image::Clocks& clocks);
// Throws what cannot be.
void check_clocks(const image::Clocks& clocks);
// With which the processes are to be made.
ClockStart clock_start_of(const image::Clocks& clocks);

}  // namespace crs::engine
