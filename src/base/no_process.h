// What to say where no process or thread can be made.
#pragma once

#include <string_view>

#include "crs/error.hpp"

namespace crs {

// With advice about the limits that fork(2) and clone3(2) report as EAGAIN.
Error no_process(std::string_view what, int error_number);

}  // namespace crs
