// The passes of an operation, each timed: the report comes for free. A pass within a pass is a part of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "crs/component.hpp"

namespace crs::engine {

class Passes {
 public:
  // Runs one pass and returns what it returns. A pass that throws is recorded as well.
  template <typename Action>
  decltype(auto) run(std::string name, Action&& action) {
    const Timer timer(*this, std::move(name));
    return std::forward<Action>(action)();
  }
  // Of the pass that began last.
  void add_bytes(std::uint64_t bytes) { list_.back().bytes += bytes; }
  // In the order in which they began.
  const std::vector<Pass>& list() const noexcept { return list_; }

 private:
  class Timer {
   public:
    Timer(Passes& passes, std::string name) : passes_(passes), place_(passes.list_.size()), outer_(passes.running_) {
      passes.list_.push_back({.name = std::move(name), .part_of = outer_});
      passes.running_ = passes.list_.back().name;
    }
    ~Timer() {
      const auto taken =
          std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start_);
      passes_.list_[place_].nanoseconds = static_cast<std::uint64_t>(taken.count());
      passes_.running_ = std::move(outer_);
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Passes& passes_;
    std::size_t place_;
    std::string outer_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

  std::vector<Pass> list_;
  std::string running_;  // the name of the innermost pass that has not ended
};

}  // namespace crs::engine
