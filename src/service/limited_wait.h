// A wait with a time limit in which a snapshot of the program may be taken.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/longest_limit.h"

namespace crs {

// Waits on `changed` until condition() is true, which is asked under the lock; false: it was not within `limit`. The
// time is counted in parts: a thread of a restarted program goes on in this wait, and by the clock of another boot the
// end of the one part may have passed long ago.
template <typename Condition>
bool wait_limited(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds limit,
                  const Condition& condition) {
  constexpr int kParts = 16;
  const auto part = std::max<std::chrono::nanoseconds>(bounded(limit) / kParts, std::chrono::milliseconds(1));
  for (int passed = 0; passed < kParts; ++passed) {
    if (changed.wait_for(lock, part, condition)) return true;
  }
  return false;
}

}  // namespace crs
