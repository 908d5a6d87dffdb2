// A component with the C interface (crs/component.h) as the framework knows components.
#pragma once

#include <cstddef>
#include <memory>

#include "crs/component.h"
#include "crs/component.hpp"
#include "framework/c_interface/host.h"

namespace crs {

// The version that the table was made for; to be checked before anything else of it. `bytes` is how much of it there
// is (the symbol's size). Throws an Error if that is too little even for a version.
InterfaceVersion version_of(const crs_component& table, std::size_t bytes);

// `table` must be of this major version and must stay where it is. Everything in it is checked; throws an Error that
// says what is wrong with it.
std::unique_ptr<Component> make_c_component(const crs_component& table, std::size_t bytes, ProgramOffers offers);

}  // namespace crs
