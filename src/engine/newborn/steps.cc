#include "engine/newborn/steps.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>

#include "base/error.h"
#include "engine/newborn/turn.h"

namespace crs::engine {

Steps::Steps() {
  void* const memory = ::mmap(nullptr, sizeof *allowed_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail_errno(errno, "cannot make memory for new processes");
  allowed_ = static_cast<std::uint32_t*>(memory);
}

Steps::~Steps() { ::munmap(allowed_, sizeof *allowed_); }

void Steps::allow(std::uint32_t number) noexcept {
  std::atomic_ref(*allowed_).store(number);
  ::syscall(SYS_futex, allowed_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

bool Steps::wait(std::uint32_t number, int seconds) const noexcept {
  while (true) {
    const std::uint32_t now = std::atomic_ref(*allowed_).load();
    if (now >= number) return true;
    const timespec limit{seconds, 0};
    const long result = system_call_alone(SYS_futex, address_of(allowed_), FUTEX_WAIT, now, address_of(&limit));
    if (result == -ETIMEDOUT) return false;
  }
}

}  // namespace crs::engine
