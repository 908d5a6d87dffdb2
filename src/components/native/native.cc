#include "components/native/native.h"

namespace crs {

std::unique_ptr<Component> make_native_component() { return nullptr; }

}  // namespace crs
