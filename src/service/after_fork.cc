#include "service/after_fork.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <new>
#include <vector>

namespace crs {
namespace {

using Generation = std::atomic<std::uint64_t>;

// Reads as zero in every child that does not share this process's memory, also one of _Fork(3) or clone(2), which call
// no function of pthread_atfork(3). Null where the kernel cannot do that (before Linux 4.14).
Generation* make_wiped_generation() {
  const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (::madvise(page, bytes, MADV_WIPEONFORK) == 0) return new (page) Generation(1);
  ::munmap(page, bytes);
  return nullptr;
}

// pthread_atfork(3) hands its functions nothing: what they work on belongs to the whole process.
struct Process {
  std::mutex mutex;
  std::vector<int> descriptors;
  std::uint64_t owner = 0;  // whose they are, by generation
  Generation known = 1;     // of this process, or of the last one above it that knew of itself
  Generation* const wiped = make_wiped_generation();

  // Of this process. In a child, the first to ask notes it.
  std::uint64_t generation() {
    if (wiped == nullptr) return known;
    const std::uint64_t next = known + 1;
    std::uint64_t present = 0;
    if (!wiped->compare_exchange_strong(present, next)) return present;
    known = next;
    return next;
  }
  // Those of a process above this one that made it by _Fork(3) are not this one's. Under the lock.
  void drop_foreign_descriptors() {
    if (owner == generation()) return;
    descriptors.clear();
    owner = generation();
  }
  // In the child.
  void note_fork() {
    if (wiped == nullptr) {
      ++known;
    } else {
      static_cast<void>(generation());
    }
  }
};

Process& process() {
  // Never destroyed: a fork may come while the program ends.
  static Process* const only = [] {
    auto* made = new Process();
    ::pthread_atfork(
        [] {
          process().mutex.lock();
          process().drop_foreign_descriptors();
        },
        [] { process().mutex.unlock(); },
        [] {
          for (const int number : process().descriptors) ::close(number);
          process().descriptors.clear();
          process().note_fork();
          process().mutex.unlock();
        });
    return made;
  }();
  return *only;
}

}  // namespace

std::uint64_t fork_generation() { return process().generation(); }

ClosedAfterFork::ClosedAfterFork(int descriptor) : descriptor_(descriptor), generation_(fork_generation()) {
  const std::lock_guard lock(process().mutex);
  process().drop_foreign_descriptors();
  process().descriptors.push_back(descriptor);
}

ClosedAfterFork::~ClosedAfterFork() {
  const std::lock_guard lock(process().mutex);
  forget();
}

std::mutex& ClosedAfterFork::fork_mutex() { return process().mutex; }

void ClosedAfterFork::forget() const noexcept {
  if (generation_ != process().generation()) return;
  auto& numbers = process().descriptors;
  const auto found = std::find(numbers.begin(), numbers.end(), descriptor_);
  if (found != numbers.end()) numbers.erase(found);
}

}  // namespace crs
