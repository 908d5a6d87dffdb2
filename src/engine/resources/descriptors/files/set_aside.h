// Files that the program had open for writing and that have grown since the checkpoint: cut back, what is cut kept.
#pragma once

#include <string>
#include <vector>

#include "crs/component.hpp"
#include "engine/resources/descriptors/descriptors.pb.h"

namespace crs::engine {

// See commit_set_aside() of descriptors.h.
void cut_grown_files(const RestartOptions& options, const image::Descriptors& image, std::vector<std::string>& notes);

}  // namespace crs::engine
