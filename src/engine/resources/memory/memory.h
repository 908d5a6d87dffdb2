// The address space of a process: capture and restore.
#pragma once

#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

// Every range of addresses that the image's areas (vDSO and vvar included) will occupy, ascending. The restart command chooses the
// newborn's reserved range (RestoreContext::reserved) outside them.
std::vector<RemoteRange> occupied_ranges(const image::Memory& memory);

}  // namespace crs::engine
