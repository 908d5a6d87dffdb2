// Spreading independent pieces of work over all cores.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>

namespace crs {

// How many threads keep a disk busy, and the processors with what is read from it or to be written: while some wait the
// others work. Not so many that their buffers would need much memory.
unsigned threads_for_disk();
// The same where nobody else wants the processors: more requests wait for the disk.
unsigned threads_for_disk_alone();

// Runs `worker` in `threads` threads at once, the calling one included (0: as many as there are cores), and waits for
// all of them. The first exception that leaves one is rethrown. Signals are blocked in the threads it starts.
void run_in_parallel(const std::function<void()>& worker, unsigned threads = 0);

// The same for work that is not urgent, in threads that all are started for it and leave the disks to
// others where these want them.
void run_in_background(const std::function<void()>& worker, unsigned threads = 0);

// Runs `action` in the calling thread, and `beside` in one of its own meanwhile, or afterwards if there can be none.
// The first exception that leaves one is rethrown when both have ended.
void run_beside(const std::function<void()>& beside, const std::function<void()>& action);

// `work` for one of these, in all of its threads: an exception that leaves it sets `failed`, by which the others may
// end sooner. Both outlive it.
template <typename Work>
auto telling_of_failure(std::atomic<bool>& failed, const Work& work) {
  return [&failed, &work] {
    try {
      work();
    } catch (...) {
      failed = true;
      throw;
    }
  };
}

// Calls `action` once for every number below `count`, in no particular order and from several threads. After the first
// exception no further number is begun; it is rethrown.
template <typename Action>
void for_each_in_parallel(std::size_t count, const Action& action, unsigned threads = 0) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    for (std::size_t number = next++; number < count && !failed; number = next++) action(number);
  };
  run_in_parallel(telling_of_failure(failed, work), threads);
}

}  // namespace crs
