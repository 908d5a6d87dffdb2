// System V segments that a process has attached for reading only (SHM_RDONLY).
#pragma once

#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

// Until now such areas were writable, to be filled, but those of huge pages. Replaces them by ones that can never be
// made so, and returns those.
std::vector<const image::Area*> attach_segments_read_only(RestoreContext& context, const image::Memory& image);

}  // namespace crs::engine
