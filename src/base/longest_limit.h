// Time limits that somebody gives.
#pragma once

#include <algorithm>
#include <chrono>

namespace crs {

// `limit`, or a century where it is longer: added to a clock, it must not run over the clock's end.
inline std::chrono::nanoseconds bounded(std::chrono::nanoseconds limit) {
  constexpr std::chrono::hours kLongestLimit{24 * 365 * 100};
  return std::min<std::chrono::nanoseconds>(limit, kLongestLimit);
}

}  // namespace crs
