// Timers: the three interval timers and the POSIX timers with their ids, notification, remaining time and interval.
//
// Remaining time is relative, so a timer goes on from where it was, however long the program lay in the snapshot. A
// timer that was armed for a date (TIMER_ABSTIME) is kept by its remaining time too: the kernel does not tell the
// difference. Processor time clocks count from zero in a restarted process; their timers also keep what remained. Not
// kept: the count of expirations that no signal has reported yet (timer_getoverrun(2)), which the kernel shows to
// nobody.
#pragma once

#include <chrono>
#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/signals/signals.pb.h"
#include "engine/resources/timers/timers.pb.h"

namespace crs::engine {

// Time goes on while a program is frozen, so timers may expire during the capture. Therefore they are captured before
// any pending signal; when all signals are captured, account_for_expirations() sees which of them are due to such an
// expiration. `since` is a moment before the call of capture_timers.
void capture_timers(CaptureContext& context, image::Timers& timers);
// What it is going to ask of the main thread. What is asked ahead counts as asked by it.
void foresee_timers(Questions& questions);
void account_for_expirations(image::Timers& timers, const image::Signals& of_process,
                             const std::vector<const image::ThreadSignals*>& of_threads,
                             std::chrono::steady_clock::time_point since);
// After that: makes what remains of timers on clocks that only the time drives count from `ago` before it was asked
// for.
void count_from_clocks(image::Timers& timers, std::chrono::nanoseconds ago);
// Throws an Error of kind Damaged for what no kernel can have said.
void check_timers(CheckContext& context, const image::Timers& timers);
// Creates the timers, disarmed. All threads must exist; credentials must still be the newborn's own.
void restore_timers(RestoreContext& context, const image::Timers& timers);
// The clock of `timer` as the program will call it, whose ids may be other ones.
int new_clock_of(const RestoreContext& context, const image::PosixTimer& timer);
// Arms those that are not yet (expired_timers.h): from here on time runs, so as late as possible.
void activate_timers(RestoreContext& context, const image::Timers& timers);

}  // namespace crs::engine
