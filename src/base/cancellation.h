// Threads that others cancel (pthread_cancel(3)). Nearly every system call is a point where that happens, also one in a
// destructor or beside a lock: what must come to its end is done with cancellation deferred, but for chosen waits.
#pragma once

#include <pthread.h>

#include <exception>
#include <utility>

namespace crs {

// While it lives, the calling thread is not cancelled; they nest. A request stays and takes effect later.
class CancellationDeferred {
 public:
  CancellationDeferred() : outer_(std::exchange(innermost(), this)) {
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_);
  }
  ~CancellationDeferred() {
    innermost() = outer_;
    ::pthread_setcancelstate(before_, nullptr);
  }
  CancellationDeferred(const CancellationDeferred&) = delete;
  CancellationDeferred& operator=(const CancellationDeferred&) = delete;

 private:
  friend class CancellationAllowed;
  // What a thread has deferred is a property of that thread alone, as its cancelability state is.
  static CancellationDeferred*& innermost() {
    static thread_local CancellationDeferred* deferred = nullptr;
    return deferred;
  }

  CancellationDeferred* outer_;
  int before_ = PTHREAD_CANCEL_ENABLE;
};

// While it lives, during a wait, a thread can be cancelled that could be before all CancellationDeferred. Not one that
// is handling an exception: where such a thread is unwound through another handler of anything, the runtime ends the
// program.
class CancellationAllowed {
 public:
  CancellationAllowed() {
    const CancellationDeferred* outermost = CancellationDeferred::innermost();
    while (outermost != nullptr && outermost->outer_ != nullptr) outermost = outermost->outer_;
    is_set_ = outermost != nullptr && std::current_exception() == nullptr;
    if (is_set_) ::pthread_setcancelstate(outermost->before_, &before_);
  }
  ~CancellationAllowed() {
    if (is_set_) ::pthread_setcancelstate(before_, nullptr);
  }
  CancellationAllowed(const CancellationAllowed&) = delete;
  CancellationAllowed& operator=(const CancellationAllowed&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
  bool is_set_ = false;
};

}  // namespace crs
