// The component `none`: everything around a checkpoint is done and nothing is stored. For testing layers, and where no
// checkpointer can work.
#pragma once

#include <memory>

#include "crs/component.hpp"

namespace crs {

std::unique_ptr<Component> make_none_component();

}  // namespace crs
