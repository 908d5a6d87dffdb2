// Components in shared objects: in C++ (CRS_COMPONENT in crs/component.hpp) or in C (crs/component.h).
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "crs/component.hpp"
#include "framework/c_interface/host.h"
#include "framework/parameters.h"

namespace crs {

// Where they are looked for: the directories of $CRS_COMPONENT_PATH, separated by colons, then the installed one.
std::vector<std::filesystem::path> component_directories(const Environment& environment);

struct DiscoveredComponent {
  std::unique_ptr<Component> component;
  std::filesystem::path file;
};

// What every file NAME.so in `directories` holds; of a name that occurs twice, the first. An object that cannot be used
// (it is no regular file, or not all of it is there; the loader refuses it, it is no component, or it was built for
// another major version of the interface, in which case nothing of it is called; or it says of itself what cannot be)
// becomes a component called after its file that declines with the reason. A directory that is not there has none. What
// is loaded stays loaded: modules, and errors thrown by them, need its code to the end. `offers` is what the program
// that this is part of has for components.
std::vector<DiscoveredComponent> discover_components(const std::vector<std::filesystem::path>& directories,
                                                     const ProgramOffers& offers = {});

}  // namespace crs
