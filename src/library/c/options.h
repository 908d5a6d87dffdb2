#pragma once

#include "crs/crs.hpp"
#include "library/c/guard.h"

namespace crs::c {

// A null pointer: the defaults.
InitOptions init_options(const crs_init_options* options);
AfterCheckpoint after_checkpoint(int after);

}  // namespace crs::c
