// What a process made by fork(2) must not keep of a service: its copies of the service's descriptors. Safe for use by
// several threads.
#pragma once

#include <cstdint>
#include <mutex>

namespace crs {

// Another number in every child, but for one that shares this process's memory (vfork(2)), which may not use the
// service. A restart changes nothing, though it may change the process id.
std::uint64_t fork_generation();

// While it lives, `descriptor` is closed in every child that fork(3) makes. (One of _Fork(3) or clone(2) keeps it, and
// must not use this where its parent had other threads, which may have held a lock.)
class ClosedAfterFork {
 public:
  explicit ClosedAfterFork(int descriptor);
  // The number is not this object's to close.
  ~ClosedAfterFork();
  // Calls `close`, which is to close it, while nobody forks: from then on the number may be another's.
  template <typename Close>
  void end_with(const Close& close) {
    const std::lock_guard lock(fork_mutex());
    close();
    forget();
  }
  ClosedAfterFork(const ClosedAfterFork&) = delete;
  ClosedAfterFork& operator=(const ClosedAfterFork&) = delete;

 private:
  static std::mutex& fork_mutex();
  void forget() const noexcept;

  int descriptor_;
  std::uint64_t generation_;
};

}  // namespace crs
