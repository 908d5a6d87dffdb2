// Signals: the actions, what is pending for the process and for each thread, and the alternate signal stacks.
//
// A signal mask is a register of its thread and is kept by the room of threads. Restoring expects every thread of the
// newborn to have all signals blocked until that mask is put in place.
#pragma once

#include "engine/resources/context.h"
#include "engine/resources/signals/signals.pb.h"
#include "engine/resources/threads/threads.pb.h"
#include "engine/resources/timers/timers.pb.h"

namespace crs::engine {

// What capture_signals() and capture_thread_signals() are going to ask.
void foresee_signals(Questions& questions);
void foresee_thread_signals(Questions& questions);
void capture_signals(CaptureContext& context, image::Signals& signals);
// `thread` is one of the frozen process's threads.
void capture_thread_signals(CaptureContext& context, RemoteCaller& thread, image::ThreadSignals& signals);

// Throw an Error of kind Damaged for what no kernel can have said.
void check_signals(CheckContext& context, const image::Signals& signals);
void check_thread_signals(CheckContext& context, const image::ThreadSignals& signals);

// Sets all actions and the process's pending signals. Blocks all signals of the calling thread, which must be the
// process's only one. From then on no code may run in the newborn that relies on signals of its own.
void restore_signals_inside(NewbornContext& context, const image::Signals& signals, const image::Timers& timers);
// Sets the alternate stack and what is pending for `thread` alone. The thread's stack pointer must not lie on an
// alternate stack.
void restore_thread_signals(RestoreContext& context, RemoteCaller& thread, const image::Thread& image,
                            const image::Timers& timers);
// What both leave for later, because timers sent it. Those exist and are not armed.
void restore_signals_of_timers(RestoreContext& context, const image::Signals& signals, const image::Threads& threads,
                               const image::Timers& timers);

}  // namespace crs::engine
