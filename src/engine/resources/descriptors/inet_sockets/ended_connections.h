// What the kernel remembers of TCP connections that have ended (TIME_WAIT, tcp(7)): for a minute their port cannot be
// bound, unless the socket that had it allowed that (SO_REUSEADDR).
#pragma once

#include <cstdint>
#include <set>

namespace crs::engine {

// Makes the kernel forget those at these ports whose other end was on this machine too, unless somebody listens there.
void forget_ended_connections(const std::set<std::uint16_t>& ports);

}  // namespace crs::engine
