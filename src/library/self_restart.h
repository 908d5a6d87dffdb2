#pragma once

#include <exception>

namespace crs {

// Tells the crs that restarted this program by component self, if it waits for that, how init() ended: well, or with
// this failure. Only the first call does.
void report_self_restart(const std::exception* failure) noexcept;

}  // namespace crs
