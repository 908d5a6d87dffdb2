// While a program is held by ptrace(2), a stop of its tracer would stop the program, too, for as long: Ctrl-Z at `crs
// checkpoint`, or its output from the background of a terminal with `stty tostop`.
#pragma once

#include <csignal>

namespace crs::engine {

// The signals by which a terminal stops its jobs wait for the end of this object. Nothing can be done about SIGSTOP.
// For the calling thread, and the threads that it makes meanwhile.
class StopSignalsBlocked {
 public:
  StopSignalsBlocked() {
    const sigset_t stops = all();
    ::pthread_sigmask(SIG_BLOCK, &stops, &mask_before_);
  }
  ~StopSignalsBlocked() {
    // Only these: others may have been blocked meanwhile, to stay so.
    sigset_t stops = all();
    for (const int number : {SIGTSTP, SIGTTIN, SIGTTOU}) {
      if (::sigismember(&mask_before_, number) != 0) ::sigdelset(&stops, number);
    }
    ::pthread_sigmask(SIG_UNBLOCK, &stops, nullptr);
  }
  StopSignalsBlocked(const StopSignalsBlocked&) = delete;
  StopSignalsBlocked& operator=(const StopSignalsBlocked&) = delete;

 private:
  static sigset_t all() {
    sigset_t stops;
    ::sigemptyset(&stops);
    for (const int number : {SIGTSTP, SIGTTIN, SIGTTOU}) ::sigaddset(&stops, number);
    return stops;
  }

  sigset_t mask_before_{};
};

}  // namespace crs::engine
