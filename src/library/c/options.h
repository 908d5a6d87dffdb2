#pragma once

#include <chrono>

#include "crs/crs.hpp"
#include "library/c/guard.h"

namespace crs::c {

// A null pointer: the defaults.
InitOptions init_options(const crs_init_options* options);
ServiceCheckpointOptions checkpoint_options(const crs_checkpoint_options* options);

struct GivenRestartOptions {
  ProgramRestartOptions options;
  std::chrono::nanoseconds time_limit = std::chrono::seconds(60);
};
GivenRestartOptions restart_options(const crs_restart_options* options);

}  // namespace crs::c
