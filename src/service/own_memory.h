// Which memory of this process can be left out of a snapshot, as /proc/self/maps shows it (proc_pid_maps(5)): anonymous
// memory, private or shared. Component native knows more, and says so at the checkpoint: a stack of another thread,
// say.
#pragma once

#include <vector>

#include "crs/component.hpp"

namespace crs {

// Throws an Error of kind Usage that says why, unless all of the range can.
void check_can_be_left_out(const MemoryRange& range);

// The same memory in as few ranges as there can be, ascending.
std::vector<MemoryRange> merged(std::vector<MemoryRange> ranges);

// What of the ranges, which are merged, still can. A program may have unmapped memory since it named it.
std::vector<MemoryRange> parts_to_leave_out(const std::vector<MemoryRange>& ranges);

// What of the ranges lies outside of `hole`.
std::vector<MemoryRange> without(const std::vector<MemoryRange>& ranges, const MemoryRange& hole);

}  // namespace crs
