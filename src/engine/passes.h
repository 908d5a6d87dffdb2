// The passes of an operation, each timed: the report comes for free.
#pragma once

#include <chrono>
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
    const Timer timer{*this, std::move(name)};
    return std::forward<Action>(action)();
  }
  const std::vector<Pass>& list() const noexcept { return list_; }

 private:
  struct Timer {
    Passes& passes;
    std::string name;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    ~Timer() {
      const auto taken = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start);
      passes.list_.push_back({name, static_cast<std::uint64_t>(taken.count())});
    }
  };
  std::vector<Pass> list_;
};

}  // namespace crs::engine
