// CLOCK_MONOTONIC and CLOCK_BOOTTIME of the program, which go on from the checkpoint in a time namespace of its own
// (time_namespaces(7)).
#pragma once

#include <sys/types.h>

#include <chrono>

#include "engine/image/process.pb.h"
#include "engine/newborn/clock_start.h"
#include "engine/resources/context.h"

namespace crs::engine {

// Refuses a process whose children would be in another time namespace than itself.
void check_time_namespace(CaptureContext& context);
// Process `pid` is frozen; as they were so long ago.
void capture_clocks(pid_t pid, std::chrono::nanoseconds ago, image::Clocks& clocks);
// The same if they are not those of its parent.
void capture_own_clocks(const CaptureContext& context, pid_t parent, image::Process& process);
// Throws what cannot be.
void check_clocks(const image::Clocks& clocks);
// With which the processes are to be made.
ClockStart clock_start_of(const image::Clocks& clocks);
// Whether times of CLOCK_MONOTONIC mean something else to the program from now on if it takes those of the machine.
bool had_another_clock(const image::Clocks& clocks);
// In a newborn that has no children yet.
void enter_clocks_inside(NewbornContext& context, const image::Clocks& clocks);

}  // namespace crs::engine
