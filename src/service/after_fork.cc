#include "service/after_fork.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

namespace crs {
namespace {

// pthread_atfork(3) hands its functions nothing: what they work on belongs to the whole process.
struct Process {
  std::mutex mutex;
  std::vector<int> descriptors;
  std::atomic<std::uint64_t> generation = 0;
};

Process& process() {
  // Never destroyed: a fork may come while the program ends.
  static Process* const only = [] {
    auto* made = new Process();
    ::pthread_atfork([] { process().mutex.lock(); }, [] { process().mutex.unlock(); },
                     [] {
                       for (const int number : process().descriptors) ::close(number);
                       process().descriptors.clear();
                       ++process().generation;
                       process().mutex.unlock();
                     });
    return made;
  }();
  return *only;
}

}  // namespace

std::uint64_t fork_generation() { return process().generation; }

ClosedAfterFork::ClosedAfterFork(int descriptor) : descriptor_(descriptor), generation_(fork_generation()) {
  const std::lock_guard lock(process().mutex);
  process().descriptors.push_back(descriptor);
}

ClosedAfterFork::~ClosedAfterFork() {
  const std::lock_guard lock(process().mutex);
  forget();
}

std::mutex& ClosedAfterFork::fork_mutex() { return process().mutex; }

void ClosedAfterFork::forget() noexcept {
  if (generation_ != process().generation) return;
  auto& numbers = process().descriptors;
  const auto found = std::find(numbers.begin(), numbers.end(), descriptor_);
  if (found != numbers.end()) numbers.erase(found);
}

}  // namespace crs
