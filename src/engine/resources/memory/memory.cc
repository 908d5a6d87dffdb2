#include "engine/resources/memory/memory.h"

namespace crs::engine {

std::vector<RemoteRange> occupied_ranges(const image::Memory&) { return {}; }

}  // namespace crs::engine
