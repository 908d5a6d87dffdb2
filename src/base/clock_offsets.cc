#include "base/clock_offsets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "base/error.h"
#include "base/io.h"

namespace crs {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

}  // namespace

ClockOffsets clock_offsets_of(pid_t pid) {
  ClockOffsets offsets;
  try {
    std::istringstream text(read_file(fmt::format("/proc/{}/timens_offsets", pid)));
    std::string name;
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
    while (text >> name >> seconds >> nanoseconds)
      (name == "monotonic" ? offsets.monotonic : offsets.boottime) = seconds * kSecond + nanoseconds;
  } catch (const Error& error) {
    if (error.error_number() != ENOENT) throw;
  }
  return offsets;
}

ClockOffsets own_clock_offsets() {
  const ClockOffsets of_children = clock_offsets_of(::getpid());
  if (of_children.monotonic == 0 && of_children.boottime == 0) return of_children;
  const bool is_own = read_link("/proc/self/ns/time") == read_link("/proc/self/ns/time_for_children");
  return is_own ? of_children : ClockOffsets{};
}

std::int64_t nanoseconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

std::uint64_t start_time_for_all(std::uint64_t start_time) {
  const std::int64_t tick = kSecond / ::sysconf(_SC_CLK_TCK);
  return start_time - static_cast<std::uint64_t>(own_clock_offsets().boottime / tick);
}

}  // namespace crs
