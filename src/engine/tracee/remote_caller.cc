#include "engine/tracee/remote_caller.h"

#include "base/error.h"

namespace crs::engine {

std::int64_t RemoteCaller::checked(std::string_view name, std::int64_t result) const {
  // The kernel's error range (syscalls(2)): -4095 .. -1.
  if (result < 0 && result >= -4095) fail_errno(static_cast<int>(-result), "{} in thread {}", name, tid());
  return result;
}

}  // namespace crs::engine
