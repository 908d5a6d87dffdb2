// Signals on input and output: F_SETOWN_EX, F_SETSIG and O_ASYNC of fcntl(2).
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// Records the owner if it is the process itself; warns if it is another one.
void capture_signal_owner(TableCapture& table, const Seen& seen, image::OpenDescription& description);

// Throws Damaged for an owner that cannot be.
void check_signal_owner(const image::OpenDescription& description);

// Makes the calling process the owner, and O_ASYNC as it was.
void restore_signal_owner(int descriptor, const image::OpenDescription& description);

}  // namespace crs::engine
