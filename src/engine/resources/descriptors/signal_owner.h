// Signals on input and output: F_SETOWN_EX, F_SETSIG and O_ASYNC of fcntl(2).
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// Records the signal, and the owner if it is a process of the tree or a thread of one; warns if it is another one.
void capture_signal_owner(TableCapture& table, const Seen& seen, image::OpenDescription& description);

// Throws Damaged for an owner that cannot be. `processes`: how many there are in the image.
void check_signal_owner(const image::OpenDescription& description, std::uint32_t processes);

// In each process: makes it the owner where it was. `process`: its index.
void restore_signal_owner(int descriptor, const image::OpenDescription& description, std::uint32_t process);
// In one process that has the description, at a number that the program knows: chooses the signal and sets O_ASYNC,
// also where nobody gets the signal, because no owner was set or it has ended.
void restore_asynchronous_mode(int descriptor, const image::OpenDescription& description);

// From outside, when the threads exist: makes the thread the owner that was.
void activate_signal_owner(TableActivation& table, int descriptor, const image::OpenDescription& description);

}  // namespace crs::engine
