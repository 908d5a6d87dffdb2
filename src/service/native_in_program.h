// The component `native` as a program has it: the engine is in crs, which takes the picture from outside.
#pragma once

#include <memory>
#include <string>

#include "crs/component.hpp"

namespace crs {

// `helper` is the crs that it starts (find_helper()); "" where there is none: then it declines.
std::unique_ptr<Component> make_native_in_program(std::string helper);

}  // namespace crs
