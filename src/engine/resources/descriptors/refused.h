// Words for what cannot be kept.
#pragma once

#include <string>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// What `seen` is, for people: "an established TCP connection 127.0.0.1:40000 -> 127.0.0.1:5432", "an io_uring
// instance".
std::string describe_refused(const Seen& seen);

}  // namespace crs::engine
