// Tracing waits for SIGCHLD (see ptrace::wait): it must be blocked, with its default action, while an engine operation
// runs. No other signal is touched: the caller may block some meanwhile, for good.
#pragma once

#include <csignal>

namespace crs::engine {

class ChildSignalBlocked {
 public:
  ChildSignalBlocked() {
    struct sigaction standard{};
    standard.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &standard, &action_before_);
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    ::pthread_sigmask(SIG_BLOCK, &child, &mask_before_);
  }
  ~ChildSignalBlocked() {
    ::sigaction(SIGCHLD, &action_before_, nullptr);
    // Only this signal: others may have been blocked meanwhile, to stay so (RestartOptions::before_start).
    if (::sigismember(&mask_before_, SIGCHLD) != 0) return;
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    ::pthread_sigmask(SIG_UNBLOCK, &child, nullptr);
  }
  ChildSignalBlocked(const ChildSignalBlocked&) = delete;
  ChildSignalBlocked& operator=(const ChildSignalBlocked&) = delete;

 private:
  struct sigaction action_before_{};
  sigset_t mask_before_{};
};

}  // namespace crs::engine
