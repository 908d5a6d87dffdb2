#include "base/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

#include "base/signals_blocked.h"

namespace crs {
namespace {

class FirstFailure {
 public:
  void run(const std::function<void()>& worker) noexcept {
    try {
      worker();
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }
  void rethrow_if_any() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr failure_;
};

// Of the calling thread; it does not matter if the system refuses. The processor is shared as usual: on a busy machine
// a copy of a lower priority would take so long that it never catches up with what the program writes.
void lower_priority() {
  constexpr int kIoprioWhoProcess = 1;  // linux/ioprio.h
  constexpr int kIoprioIdle = 3 << 13;  // IOPRIO_CLASS_IDLE
  ::syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, kIoprioIdle);
}

constexpr unsigned kMostForDisk = 12;

unsigned for_each_processor(unsigned threads) {
  return std::min(kMostForDisk, threads * std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

unsigned threads_for_disk() { return for_each_processor(2); }

unsigned threads_for_disk_alone() { return for_each_processor(4); }

void run_in_background(const std::function<void()>& worker, unsigned threads) {
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  FirstFailure failure;
  {
    std::vector<std::jthread> others;
    const SignalsBlocked blocked;
    for (unsigned i = 0; i < threads; ++i) {
      try {
        others.emplace_back([&] {
          lower_priority();
          failure.run(worker);
        });
      } catch (const std::system_error&) {
        if (others.empty()) throw;
        break;  // those that there are do the work
      }
    }
  }
  failure.rethrow_if_any();
}

void run_beside(const std::function<void()>& beside, const std::function<void()>& action) {
  FirstFailure failure;
  std::jthread other;
  try {
    const SignalsBlocked blocked;
    other = std::jthread([&] { failure.run(beside); });
  } catch (const std::system_error&) {
    // No more threads may be had.
  }
  failure.run(action);
  if (other.joinable()) {
    other.join();
  } else {
    failure.run(beside);
  }
  failure.rethrow_if_any();
}

void run_in_parallel(const std::function<void()>& worker, unsigned threads) {
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  FirstFailure failure;
  {
    std::vector<std::jthread> others;
    others.reserve(threads - 1);
    try {
      const SignalsBlocked blocked;
      for (unsigned i = 1; i < threads; ++i) others.emplace_back([&] { failure.run(worker); });
    } catch (const std::system_error&) {
      // No more threads may be had: those that there are do the work.
    }
    failure.run(worker);
  }
  failure.rethrow_if_any();
}

}  // namespace crs
