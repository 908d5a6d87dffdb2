// The component `native`: CRS's own engine, the default where ptrace works.
#pragma once

#include <memory>

#include "crs/component.hpp"

namespace crs {

std::unique_ptr<Component> make_native_component();

}  // namespace crs
