// Signals on input and output: F_SETOWN_EX, F_SETSIG and O_ASYNC of fcntl(2).
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// Records the owner if it is the process itself or a thread of it; warns if it is another one.
void capture_signal_owner(TableCapture& table, const Seen& seen, image::OpenDescription& description);

// Throws Damaged for an owner that cannot be.
void check_signal_owner(const image::OpenDescription& description);

// In the newborn: makes the process the owner where it was, and sets O_ASYNC.
void restore_signal_owner(int descriptor, const image::OpenDescription& description);

// From outside, when the threads exist: makes the thread the owner that was.
void activate_signal_owner(RestoreContext& context, int descriptor, const image::OpenDescription& description);

}  // namespace crs::engine
