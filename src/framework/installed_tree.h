// The tree that this code was installed with, wherever it has been moved since.
#pragma once

#include <filesystem>
#include <string>

namespace crs {

// The three below lie where the program or shared object that holds this code suggests, if that stands in the place
// that `cmake --install` gave it in its tree (the build tree is one, too); otherwise where they were configured to be.
std::filesystem::path installed_component_directory();
// The command crs. Empty if it is in neither place.
std::string installed_crs();
// "NAME" of the programs that are for crs's own use. Empty if it is in neither place.
std::string installed_internal_program(const std::string& name);

}  // namespace crs
