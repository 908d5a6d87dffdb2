// How the restart command keeps the processes that it makes in step: a number in memory that all of them inherit, which
// it alone raises (futex(2)).
#pragma once

#include <cstdint>

namespace crs::engine {

class Steps {
 public:
  // In the restart command, before the first process. Throws.
  Steps();
  ~Steps();
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  // In the restart command: everybody may go on to step `number`.
  void allow(std::uint32_t number) noexcept;
  // In the others: waits for that. False: it has taken more than `seconds`. May be called without a turn (turn.h).
  bool wait(std::uint32_t number, int seconds) const noexcept;

 private:
  std::uint32_t* allowed_;
};

}  // namespace crs::engine
