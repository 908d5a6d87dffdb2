// A limit on how much is written in a second.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace crs {

class Throttle {
 public:
  // 0: no limit. `check` is called every now and then by those that wait, and throws where they need not any more.
  explicit Throttle(std::uint64_t bytes_per_second, std::function<void()> check = {})
      : bytes_per_second_(bytes_per_second), check_(std::move(check)) {}

  // Returns when so many bytes more would have been written at that pace. May be called by several threads at once.
  void wait_for(std::size_t bytes) {
    if (bytes_per_second_ == 0) return;
    using Clock = std::chrono::steady_clock;
    Clock::time_point turn;
    {
      const std::scoped_lock lock(mutex_);
      turn = std::max(next_, Clock::now());
      const std::chrono::duration<double> cost(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
      turn = next_ = turn + std::chrono::duration_cast<Clock::duration>(cost);
    }
    constexpr std::chrono::milliseconds kLongestSleep{100};
    for (auto now = Clock::now(); now < turn; now = Clock::now()) {
      if (check_) check_();
      std::this_thread::sleep_until(std::min<Clock::time_point>(turn, now + kLongestSleep));
    }
  }

 private:
  std::uint64_t bytes_per_second_;
  std::function<void()> check_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace crs
