// Where page data may lie.
#pragma once

#include <vector>

#include "engine/resources/memory/memory.pb.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {

// The areas whose content is in the page data, without what was left out of it; ascending.
std::vector<RemoteRange> page_data_ranges(const image::Memory& image);

}  // namespace crs::engine
