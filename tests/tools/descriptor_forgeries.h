// Forgeries of what a program has open.
#pragma once

#include <vector>

#include "forgeries.h"

namespace crs::test {

void add_descriptor_forgeries(std::vector<Forgery>& all);

}  // namespace crs::test
