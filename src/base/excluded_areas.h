// How many areas of memory a snapshot may leave out. The restart tells the program of every one (RestartNews), in one
// message that has a greatest length (wire/frame.h): a snapshot with more could be taken, but never restarted.
#pragma once

#include <cstddef>

#include "base/error.h"

namespace crs {

inline constexpr std::size_t kMostExcludedAreas = 32768;

// `count`: of the areas, those that touch taken as one.
inline void check_excluded_count(std::size_t count) {
  if (count <= kMostExcludedAreas) return;
  throw Error(ErrorKind::Failed, fmt::format("{} separate areas of memory are to be left out, and at most {} can be",
                                             count, kMostExcludedAreas))
      .advise("Leave out fewer and larger areas");
}

}  // namespace crs
