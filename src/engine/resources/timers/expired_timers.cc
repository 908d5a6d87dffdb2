#include "engine/resources/timers/expired_timers.h"

#include <sched.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <ratio>

#include "base/error.h"
#include "engine/resources/timers/timers.h"

namespace crs::engine {
namespace {

constexpr std::chrono::seconds kPatience{10};

// Of more than 200 years: enough for an interval that no clock of this machine has passed.
__int128 exact_nanoseconds_of(const image::TimerDuration& kept) {
  return __int128{kept.seconds()} * std::nano::den + kept.nanoseconds();
}

timespec as_timespec(__int128 nanoseconds) {
  return {.tv_sec = static_cast<time_t>(nanoseconds / std::nano::den),
          .tv_nsec = static_cast<long>(nanoseconds % std::nano::den)};
}

// Its clock, as the newborn calls it: a thread's own processor time is to be read by that thread.
__int128 now_of(RestoreContext& context, const image::PosixTimer& timer) {
  const auto thread = context.threads.find(timer.clock_thread());
  RemoteCaller& reader = thread == context.threads.end() ? context.remote : *thread->second;
  const int clock = new_clock_of(context, timer);
  reader.call("clock_gettime", SYS_clock_gettime, clock, reader.scratch());
  const auto now = reader.get<timespec>();
  return __int128{now.tv_sec} * std::nano::den + now.tv_nsec;
}

// Set anew while its last signal was pending: the signal is not of its present life, and the time that remains is yet
// to come. What then becomes of the signal is the kernel's affair: Linux 6.13 and later do not deliver it.
bool was_set_anew(const image::PosixTimer& timer) {
  return exact_nanoseconds_of(timer.remaining()) > exact_nanoseconds_of(timer.interval());
}

void set_to_date(RestoreContext& context, const image::PosixTimer& timer, __int128 date, __int128 interval) {
  const itimerspec setting{.it_interval = as_timespec(interval), .it_value = as_timespec(date)};
  context.remote.call("timer_settime", SYS_timer_settime, timer.id(), TIMER_ABSTIME, context.remote.put(setting), 0);
}

// An expiration that is due comes with the next interrupt of the clock.
void wait_until_pending(const image::PosixTimer& timer, const std::function<bool()>& is_pending) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!is_pending()) {
    if (std::chrono::steady_clock::now() > end)
      fail(ErrorKind::Failed, "timer {} does not send its signal {} again", timer.id(), timer.signal());
    ::sched_yield();
  }
}

}  // namespace

const image::PosixTimer* timer_behind(const image::Timers& timers, const siginfo_t& info, pid_t target) {
  if (info.si_code != SI_TIMER) return nullptr;
  const auto found = std::ranges::find(timers.timers(), info.si_timerid, &image::PosixTimer::id);
  if (found == timers.timers().end()) return nullptr;
  const bool notifies = (found->notify() & ~SIGEV_THREAD_ID) != SIGEV_NONE;
  const bool to_thread = (found->notify() & SIGEV_THREAD_ID) != 0;
  const bool same = notifies && found->signal() == info.si_signo &&
                    found->value() == reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr) &&
                    (to_thread ? target != 0 && found->target() == target : target == 0);
  return same ? &*found : nullptr;
}

bool expire_timer(RestoreContext& context, const image::PosixTimer& timer, const std::function<bool()>& is_pending) {
  const __int128 interval = exact_nanoseconds_of(timer.interval());
  const bool goes_on = interval != 0 && !was_set_anew(timer);
  const __int128 date = goes_on ? now_of(context, timer) + exact_nanoseconds_of(timer.remaining()) - interval : 1;
  if (date <= 0) return false;
  set_to_date(context, timer, date, goes_on ? interval : 0);
  wait_until_pending(timer, is_pending);
  if (!was_set_anew(timer)) context.armed_timers.insert(timer.id());
  return true;
}

}  // namespace crs::engine
