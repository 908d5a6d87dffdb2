// Keeps every signal away from the calling thread, and from threads and children that it makes meanwhile: a signal
// meant for the process is to be handled where its handler expects it, in a thread that was there before
// (pthread_sigmask(3)).
#pragma once

#include <pthread.h>

#include <csignal>

namespace crs {

class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace crs
