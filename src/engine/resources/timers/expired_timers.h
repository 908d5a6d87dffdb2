// Timers whose signal is pending. The kernel never has more than one signal of a timer in a queue: it counts further
// expirations in that one (timer_getoverrun(2)). A copy of such a signal (rt_sigqueueinfo(2)) would stand beside what
// the timer then sends, so the timer itself is made to send it.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <functional>

#include "engine/resources/context.h"
#include "engine/resources/timers/timers.pb.h"

namespace crs::engine {

// The timer that sent `info`, pending for thread `target` (as the program sees it; 0: for the process); null if that is
// none of `timers`.
const image::PosixTimer* timer_behind(const image::Timers& timers, const siginfo_t& info, pid_t target);

// Makes `timer`, which exists and is not armed, expire now and waits until `is_pending`. All threads must have its
// signal blocked. A periodic timer goes on from there when the program takes the signal, at the time that remains for
// it. False, with nothing done, if its clock is too young for a time of which that is true.
bool expire_timer(RestoreContext& context, const image::PosixTimer& timer, const std::function<bool()>& is_pending);

}  // namespace crs::engine
