// `crs components --conformance NAME`: whether a component does what it declares.
#pragma once

#include <string>
#include <vector>

#include "cli/context.h"

namespace crs::cli {

// One thing that was looked at.
struct Finding {
  std::string name;
  bool good = false;
  std::string text;
};

// Puts a program of crs's own through checkpoints and restarts by the component, with a store of its own, and checks
// from inside and outside of it what the component declares. Needs a minute at most, and leaves nothing. Throws if the
// component cannot be used, or the program not be started.
std::vector<Finding> check_conformance(Context& context, const std::string& component);

}  // namespace crs::cli
