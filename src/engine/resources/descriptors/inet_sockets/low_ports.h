// Ports that not every user may bind.
#pragma once

#include <cstdint>

namespace crs::engine {

// Whether this process may bind that port (ip(7), ip_unprivileged_port_start).
bool may_bind(std::uint16_t port);

}  // namespace crs::engine
