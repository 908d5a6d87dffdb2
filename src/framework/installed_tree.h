// The tree that this code was installed with, wherever it has been moved since.
#pragma once

#include <filesystem>
#include <string>

namespace crs {

// The first crs in PATH, by an absolute name; empty if there is none.
std::string crs_in_path();

// The three below lie where the program or shared object that holds this code suggests, if that stands in the place
// that `cmake --install` gave it in its tree (the build tree is one, too); otherwise where they were configured to be.
// The components of a program that holds libcrs.a, and stands elsewhere, may also lie in the tree of the crs in PATH.
std::filesystem::path installed_component_directory();
// The command crs. Empty if it is in neither place.
std::string installed_crs();
// "NAME" of the programs that are for crs's own use. Empty if it is in neither place.
std::string installed_internal_program(const std::string& name);

}  // namespace crs
