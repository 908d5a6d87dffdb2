// A trial of a kernel interface in a child process.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace crs::engine {

// Runs `action` in a forked child and returns its result: 0, or an errno value (1 to 255). The child dies with this
// process and never returns from here. A child that a signal ended gives -N. Throws if no child can be made.
int try_in_child(const std::function<int()>& action);

// "ok", the words of an errno, or "ended by signal N".
std::string words_of_trial(int result);

// A child that waits to be killed: something to trace. Killed and reaped at the end of the scope.
class WaitingChild {
 public:
  WaitingChild();
  ~WaitingChild();
  WaitingChild(const WaitingChild&) = delete;
  WaitingChild& operator=(const WaitingChild&) = delete;
  pid_t pid() const noexcept { return pid_; }

 private:
  pid_t pid_;
};

// The result of a system call that returns -1 and sets errno, as a trial's result.
int errno_of(long result) noexcept;

}  // namespace crs::engine
