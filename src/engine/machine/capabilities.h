// What this process may do (capabilities(7)).
#pragma once

namespace crs::engine {

// Whether it has `capability` (CAP_...) effectively, in its own user namespace.
bool has_capability(unsigned capability);

}  // namespace crs::engine
