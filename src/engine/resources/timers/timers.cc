#include "engine/resources/timers/timers.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <limits>
#include <optional>
#include <ratio>
#include <set>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/resources/timers/timer_list.h"

namespace crs::engine {
namespace {

// Since Linux 6.15, missing from older headers: with it, timer_create(2) takes the id to give from where it will write
// it.
constexpr int kCreateRestoreIds = 77;
// On older kernels, ids are handed out one after the other: as many timers are made and thrown away as lie before the
// wanted one.
constexpr int kMostDiscarded = 20000;

struct KernelTime {
  std::int64_t seconds = 0;
  std::int64_t fraction = 0;  // nanoseconds, or microseconds of an interval timer
};

struct KernelTimer {
  KernelTime interval;
  KernelTime remaining;
};

// A clock of processor time as a clock id: the inverted process or thread id (0: the caller's) above three bits
// (clock_getcpuclockid(3)).
namespace cpu_clock {
constexpr int kThreadBit = 4;
constexpr bool is(int clock) { return clock < 0; }
constexpr bool of_thread(int clock) { return (clock & kThreadBit) != 0; }
constexpr pid_t owner(int clock) { return ~(clock >> 3); }
constexpr int with_owner(int clock, pid_t owner) {
  return static_cast<int>(static_cast<unsigned>(~owner) << 3U) | (clock & 7);
}
}  // namespace cpu_clock

void keep_duration(const KernelTime& time, std::int64_t nanoseconds_per_unit, image::TimerDuration& kept) {
  kept.set_seconds(time.seconds);
  kept.set_nanoseconds(time.fraction * nanoseconds_per_unit);
}

KernelTime kernel_time(const image::TimerDuration& kept, std::int64_t nanoseconds_per_unit) {
  return {.seconds = kept.seconds(), .fraction = kept.nanoseconds() / nanoseconds_per_unit};
}

bool is_zero(const KernelTime& time) { return time.seconds == 0 && time.fraction == 0; }

void capture_interval_timers(RemoteCaller& remote, image::Timers& timers) {
  for (const int which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) {
    const RemoteAddress place = remote.scratch();
    remote.call("getitimer", SYS_getitimer, which, place);
    auto timer = remote.get<KernelTimer>();
    // A real-time timer rests between its expiration and the delivery of SIGALRM. Making it expire again at once leads
    // back to that: the signal is not pending twice.
    if (is_zero(timer.remaining) && !is_zero(timer.interval)) timer.remaining.fraction = 1;
    if (is_zero(timer.remaining)) continue;
    image::IntervalTimer& kept = *timers.add_intervals();
    kept.set_which(which);
    keep_duration(timer.remaining, 1000, *kept.mutable_remaining());
    keep_duration(timer.interval, 1000, *kept.mutable_interval());
  }
}

std::vector<ListedTimer> listed_timers(CaptureContext& context) {
  try {
    return parse_timer_list(read_task_file(context.pid, "timers"));
  } catch (const Error& error) {
    if (error.error_number() != ENOENT) throw;
    context.warnings.emplace_back(
        "this kernel does not tell whether the program has POSIX timers (it has no /proc/PID/timers): none is kept");
    return {};
  }
}

std::map<pid_t, pid_t> program_ids(const CaptureContext& context) {
  std::map<pid_t, pid_t> ids;
  for (const pid_t tid : context.threads) ids[tid] = innermost_id(tid);
  return ids;
}

// The kernel does not show whose time "the calling thread's processor time" is. The thread that is notified is the one
// that asked in all but contrived programs.
pid_t clock_thread_of(CaptureContext& context, const ListedTimer& timer, const std::map<pid_t, pid_t>& ids) {
  const auto target = ids.find(timer.target);
  if ((timer.notify & SIGEV_THREAD_ID) != 0 && target != ids.end()) return target->second;
  if (ids.size() > 1) {
    context.warnings.push_back(
        fmt::format("timer {} measures one thread's processor time, and the kernel does not tell which: after a "
                    "restart it is the main thread's",
                    timer.id));
  }
  return context.own_pid;
}

// A timer may measure another process's processor time, which a restart cannot find again.
bool measures_stranger(int clock, const CaptureContext& context, const std::map<pid_t, pid_t>& ids) {
  if (!cpu_clock::is(clock)) return false;
  const pid_t owner = cpu_clock::owner(clock);
  if (owner == 0 || owner == context.own_pid) return false;
  return std::ranges::none_of(ids, [owner](const auto& pair) { return pair.second == owner; });
}

void capture_posix_timer(CaptureContext& context, const ListedTimer& timer, const std::map<pid_t, pid_t>& ids,
                         image::PosixTimer& kept) {
  if (measures_stranger(timer.clock, context, ids)) {
    context.refusals.add(fmt::format("timer {} of process {} measures the processor time of process {}", timer.id,
                                     context.own_pid, cpu_clock::owner(timer.clock)),
                         "take the checkpoint when the program has deleted it");
    return;
  }
  kept.set_id(timer.id);
  kept.set_clock(timer.clock);
  kept.set_notify(timer.notify);
  kept.set_signal(timer.signal);
  kept.set_value(timer.value);
  const auto target = ids.find(timer.target);
  if ((timer.notify & SIGEV_THREAD_ID) != 0 && target != ids.end()) kept.set_target(target->second);
  const bool callers_thread =
      cpu_clock::is(timer.clock) && cpu_clock::of_thread(timer.clock) && cpu_clock::owner(timer.clock) == 0;
  if (callers_thread) kept.set_clock_thread(clock_thread_of(context, timer, ids));

  RemoteCaller& remote = context.remote;
  const RemoteAddress place = remote.scratch();
  remote.call("timer_gettime", SYS_timer_gettime, timer.id, place);
  const auto time = remote.get<KernelTimer>();
  keep_duration(time.remaining, 1, *kept.mutable_remaining());
  keep_duration(time.interval, 1, *kept.mutable_interval());
}

// Signals that come from timers, among all that are pending.
struct TimerSignals {
  std::set<int> timers;            // ids of POSIX timers
  bool of_interval_timer = false;  // SIGALRM of ITIMER_REAL

  void add(const google::protobuf::RepeatedPtrField<std::string>& pending) {
    for (const std::string& bytes : pending) {
      siginfo_t info{};
      std::memcpy(&info, bytes.data(), std::min(bytes.size(), sizeof info));
      if (info.si_code == SI_TIMER) timers.insert(info.si_timerid);
      if (info.si_code == SI_KERNEL && info.si_signo == SIGALRM) of_interval_timer = true;
    }
  }
};

std::chrono::nanoseconds nanoseconds_of(const image::TimerDuration& kept) {
  // Longer than any capture, and far from overflow.
  constexpr std::int64_t kLong = 1'000'000'000;
  return std::chrono::seconds(std::min(kept.seconds(), kLong)) + std::chrono::nanoseconds(kept.nanoseconds());
}

// Of what is disarmed nothing remains.
void add_to(image::TimerDuration& kept, std::chrono::nanoseconds added) {
  if ((kept.seconds() == 0 && kept.nanoseconds() == 0) || kept.seconds() >= std::numeric_limits<std::int32_t>::max())
    return;
  const std::chrono::nanoseconds all =
      std::chrono::seconds(kept.seconds()) + std::chrono::nanoseconds(kept.nanoseconds()) + added;
  kept.set_seconds(all.count() / std::nano::den);
  kept.set_nanoseconds(all.count() % std::nano::den);
}

bool is_zero(const image::TimerDuration& kept) { return kept.seconds() == 0 && kept.nanoseconds() == 0; }

void check_duration(const image::TimerDuration& kept) {
  if (kept.seconds() < 0 || kept.nanoseconds() < 0 || kept.nanoseconds() >= std::nano::den) {
    fail(ErrorKind::Damaged, "a timer has {} s and {} ns, which cannot be", kept.seconds(), kept.nanoseconds());
  }
}

void check_posix_timer(const image::PosixTimer& timer) {
  const int kind = timer.notify() & ~SIGEV_THREAD_ID;
  const bool known = kind == SIGEV_SIGNAL || kind == SIGEV_NONE || kind == SIGEV_THREAD;
  const bool signals = kind != SIGEV_NONE;
  if (timer.id() < 0 || !known || (signals && (timer.signal() < 1 || timer.signal() > 64))) {
    fail(ErrorKind::Damaged, "timer {} notifies by {} with signal {}, which cannot be", timer.id(), timer.notify(),
         timer.signal());
  }
  check_duration(timer.remaining());
  check_duration(timer.interval());
}

// Makes the wanted ids come back, in whichever way this kernel has; leaves the process as other timer_create(2) calls
// expect it.
class TimerIds {
 public:
  explicit TimerIds(RemoteCaller& remote) : remote_(remote) {
    by_request_ = remote_.raw_call(SYS_prctl, {kCreateRestoreIds, 1, 0, 0, 0, 0}) == 0;
  }
  ~TimerIds() {
    if (!by_request_) return;
    try {
      remote_.raw_call(SYS_prctl, {kCreateRestoreIds, 0, 0, 0, 0, 0});
    } catch (const Error&) {  // The newborn died, and the request with it.
    }
  }
  TimerIds(const TimerIds&) = delete;
  TimerIds& operator=(const TimerIds&) = delete;

  // Creates a timer through `caller`, a thread of the same process, with the description at `event`.
  void create(RemoteCaller& caller, int clock, const sigevent& event, int id) const {
    for (int discarded = 0; discarded <= kMostDiscarded; ++discarded) {
      const RemoteAddress description = caller.put(event);
      const RemoteAddress place = caller.put(id, sizeof event);
      caller.call("timer_create", SYS_timer_create, clock, description, place);
      const int got = caller.get<int>(sizeof event);
      if (got == id) return;
      caller.call("timer_delete", SYS_timer_delete, got);
      if (got > id) break;
    }
    Error error(ErrorKind::Failed, fmt::format("timer id {} cannot be had again", id));
    throw error.advise("Linux 6.15 and later give a timer any id that is asked for");
  }

 private:
  RemoteCaller& remote_;
  bool by_request_ = false;
};

pid_t new_id_of(const RestoreContext& context, pid_t tid) {
  const auto found = context.new_ids.find(tid);
  if (found == context.new_ids.end())
    fail(ErrorKind::Damaged, "a timer belongs to thread {}, which the snapshot does not have", tid);
  return found->second;
}

sigevent event_of(const RestoreContext& context, const image::PosixTimer& timer) {
  sigevent event{};
  event.sigev_notify = timer.notify();
  event.sigev_signo = timer.signal();
  event.sigev_value.sival_ptr =
      reinterpret_cast<void*>(timer.value());  // NOLINT(performance-no-int-to-ptr): the program's own
  if ((timer.notify() & SIGEV_THREAD_ID) == 0) return event;
  if (timer.target() == 0) {
    event.sigev_notify = SIGEV_NONE;  // The thread has ended: nobody hears of the timer any more.
  } else {
    event._sigev_un._tid = new_id_of(context, timer.target());
  }
  return event;
}

RemoteCaller& creator_of(RestoreContext& context, const image::PosixTimer& timer) {
  if (timer.clock_thread() == 0) return context.remote;
  const auto found = context.threads.find(timer.clock_thread());
  if (found == context.threads.end() || found->second == nullptr) {
    fail(ErrorKind::Damaged, "a timer belongs to thread {}, which the snapshot does not have", timer.clock_thread());
  }
  return *found->second;
}

// The clock without the power to wake the machine, or nothing.
std::optional<int> asleep_clock_of(int clock) {
  if (clock == CLOCK_REALTIME_ALARM) return CLOCK_REALTIME;
  if (clock == CLOCK_BOOTTIME_ALARM) return CLOCK_BOOTTIME;
  return std::nullopt;
}

void create_posix_timer(RestoreContext& context, const TimerIds& ids, const image::PosixTimer& timer) {
  const sigevent event = event_of(context, timer);
  RemoteCaller& creator = creator_of(context, timer);
  const int clock = new_clock_of(context, timer);
  try {
    ids.create(creator, clock, event, timer.id());
  } catch (const Error& error) {
    const std::optional<int> asleep = asleep_clock_of(clock);
    if (error.error_number() != EPERM || !asleep) throw;
    ids.create(creator, *asleep, event, timer.id());
    context.notes.push_back(fmt::format(
        "timer {} does not wake the machine from suspend any more (that needs CAP_WAKE_ALARM)", timer.id()));
  }
}

// Setting an interval timer of processor time adds one tick of the kernel (getitimer(2), "NOTES": expiration never
// before the time asked for), so that much is taken off. The coarse clocks advance by ticks (clock_getres(2)).
KernelTime without_tick(const KernelTime& remaining) {
  timespec tick{};
  if (::clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0 || tick.tv_sec != 0) return remaining;
  constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;
  const std::int64_t microseconds = tick.tv_nsec / 1000;
  if (remaining.fraction >= microseconds)
    return {.seconds = remaining.seconds, .fraction = remaining.fraction - microseconds};
  if (remaining.seconds == 0) return {.seconds = 0, .fraction = 1};
  return {.seconds = remaining.seconds - 1, .fraction = remaining.fraction + kMicrosecondsPerSecond - microseconds};
}

KernelTimer kernel_timer(const image::TimerDuration& remaining, const image::TimerDuration& interval,
                         std::int64_t nanoseconds_per_unit) {
  KernelTimer timer{.interval = kernel_time(interval, nanoseconds_per_unit),
                    .remaining = kernel_time(remaining, nanoseconds_per_unit)};
  const bool armed = remaining.seconds() != 0 || remaining.nanoseconds() != 0;
  if (armed && is_zero(timer.remaining)) timer.remaining.fraction = 1;  // Zero would disarm it (timer_settime(2)).
  return timer;
}

}  // namespace

int new_clock_of(const RestoreContext& context, const image::PosixTimer& timer) {
  const int clock = timer.clock();
  if (!cpu_clock::is(clock) || cpu_clock::owner(clock) == 0) return clock;
  return cpu_clock::with_owner(clock, new_id_of(context, cpu_clock::owner(clock)));
}

void foresee_timers(Questions& questions) {
  for (const int which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF})
    questions.of_thread.push_back({SYS_getitimer, {static_cast<std::uint64_t>(which)}, 1});
}

void capture_timers(CaptureContext& context, image::Timers& timers) {
  if (!context.only_looks) capture_interval_timers(context.remote, timers);
  const std::vector<ListedTimer> listed = listed_timers(context);
  if (listed.empty()) return;
  const std::map<pid_t, pid_t> ids = program_ids(context);
  for (const ListedTimer& timer : listed) {
    in_context(fmt::format("timer {}", timer.id),
               [&] { capture_posix_timer(context, timer, ids, *timers.add_timers()); });
  }
}

void account_for_expirations(image::Timers& timers, const image::Signals& of_process,
                             const std::vector<const image::ThreadSignals*>& of_threads,
                             std::chrono::steady_clock::time_point since) {
  TimerSignals signals;
  signals.add(of_process.pending());
  for (const image::ThreadSignals* thread : of_threads) signals.add(thread->pending());
  const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - since;
  for (image::PosixTimer& timer : *timers.mutable_timers()) {
    const bool expired = !is_zero(timer.remaining()) && nanoseconds_of(timer.remaining()) <= elapsed;
    if (expired && signals.timers.contains(timer.id()))
      *timer.mutable_remaining() = timer.interval();  // zero if it is not periodic: it waits for nothing more
  }
  for (image::IntervalTimer& timer : *timers.mutable_intervals()) {
    const bool expired = timer.which() == ITIMER_REAL && nanoseconds_of(timer.remaining()) <= elapsed;
    // A periodic one rests now: see capture_interval_timers.
    if (expired && signals.of_interval_timer && is_zero(timer.interval())) timer.mutable_remaining()->Clear();
  }
}

void count_from_clocks(image::Timers& timers, std::chrono::nanoseconds ago) {
  for (image::IntervalTimer& timer : *timers.mutable_intervals()) {
    if (timer.which() == ITIMER_REAL) add_to(*timer.mutable_remaining(), ago);
  }
  for (image::PosixTimer& timer : *timers.mutable_timers()) {
    // More than its interval would mean that it was set anew (expired_timers.cc).
    const bool stays_within =
        is_zero(timer.interval()) || nanoseconds_of(timer.remaining()) + ago <= nanoseconds_of(timer.interval());
    if (!cpu_clock::is(timer.clock()) && stays_within) add_to(*timer.mutable_remaining(), ago);
  }
}

void check_timers(CheckContext&, const image::Timers& timers) {
  for (const image::IntervalTimer& timer : timers.intervals()) {
    if (timer.which() < ITIMER_REAL || timer.which() > ITIMER_PROF)
      fail(ErrorKind::Damaged, "there is no interval timer {}", timer.which());
    check_duration(timer.remaining());
    check_duration(timer.interval());
  }
  int previous = -1;
  for (const image::PosixTimer& timer : timers.timers()) {
    if (timer.id() <= previous) fail(ErrorKind::Damaged, "timer {} is out of order", timer.id());
    previous = timer.id();
    check_posix_timer(timer);
  }
}

void restore_timers(RestoreContext& context, const image::Timers& timers) {
  if (timers.timers().empty()) return;
  const TimerIds ids(context.remote);
  for (const image::PosixTimer& timer : timers.timers()) {
    in_context(fmt::format("creating timer {}", timer.id()), [&] { create_posix_timer(context, ids, timer); });
  }
}

void activate_timers(RestoreContext& context, const image::Timers& timers) {
  RemoteCaller& remote = context.remote;
  for (const image::PosixTimer& timer : timers.timers()) {
    if (context.armed_timers.contains(timer.id())) continue;
    const RemoteAddress setting = remote.put(kernel_timer(timer.remaining(), timer.interval(), 1));
    remote.call("timer_settime", SYS_timer_settime, timer.id(), 0, setting, 0);
  }
  for (const image::IntervalTimer& timer : timers.intervals()) {
    KernelTimer setting = kernel_timer(timer.remaining(), timer.interval(), 1000);
    if (is_zero(setting.remaining)) continue;
    if (timer.which() != ITIMER_REAL) setting.remaining = without_tick(setting.remaining);
    remote.call("setitimer", SYS_setitimer, timer.which(), remote.put(setting), 0);
  }
}

}  // namespace crs::engine
