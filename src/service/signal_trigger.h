// A signal at which the program does something in a thread of its own, where the application wants that: the parameter
// crs_signal.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>

namespace crs {

// While it lives, each delivery of `signal` makes the thread call act() once. A process has one at most. Throws an
// Error if it has one already, if the signal is unfit (SIGSEGV, SIGKILL and the like), or if the program has a handler
// for the signal itself. A child made by fork(2) has the signal's action of before, though only from its first delivery
// on.
class SignalTrigger {
 public:
  SignalTrigger(int signal, std::function<void()> act);
  // Waits for an act() that is under way.
  ~SignalTrigger();
  SignalTrigger(const SignalTrigger&) = delete;
  SignalTrigger& operator=(const SignalTrigger&) = delete;

 private:
  void run();

  int signal_;
  std::function<void()> act_;
  std::uint64_t generation_;
  std::thread thread_;
};

}  // namespace crs
