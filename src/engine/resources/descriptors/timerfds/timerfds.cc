#include "engine/resources/descriptors/timerfds/timerfds.h"

#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <optional>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::uint64_t kLong = std::uint64_t{1} << 62;
constexpr unsigned long kSetTicks = _IOW('T', 0, std::uint64_t);  // TFD_IOC_SET_TICKS, timerfd_create(2)
constexpr std::uint32_t kKnownFlags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;

// "(SECONDS, NANOSECONDS)" as fdinfo has it.
std::uint64_t parse_time(std::string_view text) {
  const std::size_t comma = text.find(',');
  if (text.starts_with('(') && text.ends_with(')') && comma != std::string_view::npos) {
    const auto seconds = parse_number(text.substr(1, comma - 1));
    const auto nanoseconds = parse_number(text.substr(comma + 1, text.size() - comma - 2));
    if (seconds && nanoseconds && *seconds <= std::numeric_limits<std::int64_t>::max() / kNanosecondsPerSecond) {
      return *seconds * kNanosecondsPerSecond + *nanoseconds;
    }
  }
  fail(ErrorKind::Failed, "cannot understand the time '{}' of a timerfd", text);
}

std::uint64_t time_in(const FdInfo& info, std::string_view key) {
  const auto value = info.find(key);
  if (!value) fail(ErrorKind::Failed, "this kernel's /proc/PID/fdinfo does not show '{}' of a timerfd", key);
  return parse_time(*value);
}

std::uint64_t nanoseconds_of(const timespec& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * kNanosecondsPerSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

timespec timespec_of(std::uint64_t nanoseconds) {
  return {static_cast<time_t>(nanoseconds / kNanosecondsPerSecond),
          static_cast<long>(nanoseconds % kNanosecondsPerSecond)};
}

std::uint64_t wall_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds_of(now);
}

bool is_wall_clock(int clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM; }

// A periodic timer that has expired is only wound on when somebody asks; asking changes nothing that the program could
// see. Repeated, since it may expire again between the two looks.
FdInfo look_at_running(const TableCapture& table, const Seen& seen) {
  constexpr int kAttempts = 100;
  FdInfo info;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    itimerspec unused{};
    if (::timerfd_gettime(seen.copy.get(), &unused) != 0)
      fail_errno(errno, "cannot ask {}, a timerfd", table.name_of(seen));
    info = seen.numbers.empty() ? FdInfo::of(::getpid(), seen.copy.get())
                                : FdInfo::of(table.holder(seen).pid, seen.first());
    if (time_in(info, "it_value") != 0 || time_in(info, "it_interval") == 0) break;
  }
  return info;
}

// Of one that has expired again since the clocks were read, which counts as another expiration.
bool passes_interval(const image::Timerfd& timer, std::uint64_t since_clocks_read) {
  return timer.remaining() <= timer.interval() && timer.remaining() + since_clocks_read > timer.interval();
}

}  // namespace

bool TimerfdKind::recognises(const TableCapture& /*table*/, const Seen& seen) { return seen.is_anonymous("[timerfd]"); }

void TimerfdKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::Timerfd& timer = *description.mutable_timerfd();
  const FdInfo info = look_at_running(table, seen);
  timer.set_clock(static_cast<int>(info.number("clockid")));
  timer.set_settime_flags(static_cast<std::uint32_t>(info.number("settime flags", 8)) & kKnownFlags);
  timer.set_ticks(info.number("ticks"));
  const auto since_clocks_read = static_cast<std::uint64_t>(table.context.since_clocks_read().count());
  timer.set_remaining(time_in(info, "it_value"));
  timer.set_interval(time_in(info, "it_interval"));
  const bool absolute = (timer.settime_flags() & TFD_TIMER_ABSTIME) != 0;
  if (absolute && is_wall_clock(timer.clock()) && timer.remaining() != 0)
    timer.set_deadline(wall_clock() + timer.remaining());
  if (timer.remaining() != 0 && timer.remaining() < kLong && !passes_interval(timer, since_clocks_read))
    timer.set_remaining(timer.remaining() + since_clocks_read);
}

void TimerfdKind::check(TableCheck& /*table*/, const Description& description) {
  constexpr std::array kClocks{CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM,
                               CLOCK_BOOTTIME_ALARM};
  const image::Timerfd& timer = description.timerfd();
  constexpr std::uint64_t kLongest = std::numeric_limits<std::int64_t>::max();
  const bool possible = std::ranges::find(kClocks, timer.clock()) != kClocks.end() &&
                        (timer.settime_flags() & ~kKnownFlags) == 0 && timer.remaining() <= kLongest &&
                        timer.interval() <= kLongest && timer.deadline() <= kLongest;
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a timerfd that cannot be");
}

FileDescriptor TimerfdKind::open(TableRestore& /*table*/, const Description& description) {
  FileDescriptor opened(::timerfd_create(description.timerfd().clock(), 0));
  if (!opened) fail_errno(errno, "cannot make a timerfd on clock {}", description.timerfd().clock());
  return opened;
}

void TimerfdKind::activate(TableActivation& table, const Description& description, int number) {
  const image::Timerfd& timer = description.timerfd();
  RemoteCaller& remote = table.context.remote;
  // A disarmed one may have an interval, which timerfd_gettime(2) shows.
  if (timer.remaining() != 0 || timer.interval() != 0) {
    // Absolute times on other clocks than the wall clock mean little after another boot: what remained goes on.
    const std::uint64_t value = timer.deadline() != 0 ? timer.deadline() : timer.remaining();
    const std::uint32_t flags = timer.deadline() != 0 ? timer.settime_flags() : 0;
    const RemoteAddress setting = remote.put(itimerspec{timespec_of(timer.interval()), timespec_of(value)});
    remote.call("timerfd_settime", SYS_timerfd_settime, number, flags, setting, 0);
  }
  if (timer.ticks() == 0) return;
  const RemoteAddress ticks = remote.put(timer.ticks());
  if (remote.raw_call(SYS_ioctl, {static_cast<std::uint64_t>(number), kSetTicks, ticks.value}) < 0) {
    table.context.notes.push_back(fmt::format(
        "the timer of descriptor {} had expired and this kernel cannot say so again: that expiration is lost", number));
  }
}

}  // namespace crs::engine
