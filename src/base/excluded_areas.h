// Which areas of memory a snapshot may be asked to leave out, and how many. The restart tells the program of every one
// (RestartNews), in one message that has a greatest length (wire/frame.h): a snapshot with more could be taken, but
// never restarted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "crs/component.hpp"

namespace crs {

inline constexpr std::size_t kMostExcludedAreas = 32768;

// Throws an Error of kind Usage for what is no range of a program's addresses, on any system with 64 bits: nothing lies
// in the upper half for a program.
inline void check_excluded_ranges(std::span<const MemoryRange> ranges) {
  for (const MemoryRange& range : ranges) {
    if (range.start >= range.end || range.end > UINT64_MAX / 2)
      fail(ErrorKind::Usage, "{:#x}-{:#x} is no range of a program's addresses", range.start, range.end);
  }
}

// `count`: of the areas, those that touch taken as one.
inline void check_excluded_count(std::size_t count) {
  if (count <= kMostExcludedAreas) return;
  throw Error(ErrorKind::Failed, fmt::format("{} separate areas of memory are to be left out, and at most {} can be",
                                             count, kMostExcludedAreas))
      .advise("Leave out fewer and larger areas");
}

}  // namespace crs
