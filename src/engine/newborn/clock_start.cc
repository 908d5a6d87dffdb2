#include "engine/newborn/clock_start.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/clock_offsets.h"
#include "base/error.h"
#include "base/io.h"
#include "engine/machine/capabilities.h"

namespace crs::engine {
namespace {

constexpr const char* kOffsetsFile = "/proc/self/timens_offsets";
constexpr int kCloneNewTime = 0x80;  // CLONE_NEWTIME: Linux 5.6, not in every header

// Seconds may be negative, nanoseconds may not. Whole ticks, so that start times can be compared
// (start_time_for_all()).
std::string offset_line(std::string_view name, std::int64_t offset) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t tick = kSecond / ::sysconf(_SC_CLK_TCK);
  const std::int64_t up = offset >= 0 ? (offset + tick - 1) / tick : offset / tick;
  std::int64_t seconds = up * tick / kSecond;
  std::int64_t rest = up * tick % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  return fmt::format("{} {} {}\n", name, seconds, rest);
}

std::string offsets_for(const ClockStart& start) {
  const ClockOffsets own = own_clock_offsets();
  return offset_line("monotonic", start.monotonic - (nanoseconds_of(CLOCK_MONOTONIC) - own.monotonic)) +
         offset_line("boottime", start.boottime - (nanoseconds_of(CLOCK_BOOTTIME) - own.boottime));
}

}  // namespace

bool may_set_clocks(bool in_user_namespace) {
  if (::access(kOffsetsFile, F_OK) != 0) return false;
  return in_user_namespace || (has_capability(CAP_SYS_ADMIN) && has_capability(CAP_SYS_TIME));
}

ClocksOfChildren::ClocksOfChildren(const ClockStart& start)
    : before_(open_file("/proc/self/ns/time", O_RDONLY)), maker_(::getpid()) {
  const std::string offsets = offsets_for(start);
  if (::unshare(kCloneNewTime) != 0) fail_errno(errno, "cannot make a time namespace");
  try {
    const FileDescriptor file = open_file(kOffsetsFile, O_WRONLY);
    write_all(file.get(), kOffsetsFile, as_byte_span(offsets));
  } catch (...) {
    leave();
    throw;
  }
}

ClocksOfChildren::~ClocksOfChildren() { leave(); }

// Not in a copy of this that a child has. Nor where this process has other threads (setns(2)): its later children then
// begin with these clocks.
void ClocksOfChildren::leave() noexcept {
  if (before_ && ::getpid() == maker_) ::setns(before_.get(), kCloneNewTime);
}

void ClocksOfChildren::enter() {
  const FileDescriptor made = open_file("/proc/self/ns/time_for_children", O_RDONLY);
  if (::setns(made.get(), kCloneNewTime) != 0) fail_errno(errno, "cannot enter a time namespace");
  before_.reset();
}

}  // namespace crs::engine
