// How often to take a checkpoint.
#pragma once

#include <chrono>

namespace crs::cli {

// The interval that loses least time, to checkpoints on one hand and to what is computed again after a failure on the
// other, where a checkpoint costs `cost` and failures come every `between_failures` on average: J. T. Daly, "A higher
// order estimate of the optimum checkpoint interval for restart dumps" (2006), equation 37, whose first term is that of
// J. W. Young, "A first order approximation to the optimum checkpoint interval" (1974). At least a second.
std::chrono::nanoseconds best_interval(std::chrono::nanoseconds cost, std::chrono::nanoseconds between_failures);

}  // namespace crs::cli
