#include "cli/checkpoint_interval.h"

#include <algorithm>
#include <cmath>

namespace crs::cli {

std::chrono::nanoseconds best_interval(std::chrono::nanoseconds cost, std::chrono::nanoseconds between_failures) {
  constexpr std::chrono::nanoseconds kShortest = std::chrono::seconds(1);
  const auto c = static_cast<double>(cost.count());
  const auto m = static_cast<double>(between_failures.count());
  if (c >= 2 * m) return std::max(kShortest, between_failures);
  const double part = c / (2 * m);
  const double interval = std::sqrt(2 * c * m) * (1 + std::sqrt(part) / 3 + part / 9) - c;
  return std::max(kShortest, std::chrono::nanoseconds(std::llround(interval)));
}

}  // namespace crs::cli
