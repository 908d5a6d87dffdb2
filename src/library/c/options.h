#pragma once

#include "crs/crs.hpp"
#include "library/c/guard.h"

namespace crs::c {

// A null pointer: the defaults.
InitOptions init_options(const crs_init_options* options);
ServiceCheckpointOptions checkpoint_options(const crs_checkpoint_options* options);

}  // namespace crs::c
