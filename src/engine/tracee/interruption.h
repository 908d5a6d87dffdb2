// What being stopped does to a thread, and how it is hidden from the program.
#pragma once

#include "engine/tracee/remote_memory.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

// Some calls answer EINTR whenever a thread is stopped, even without a signal (signal(7), "Interruption of system calls
// and library functions by stop signals"). If `thread` was caught in one of them and no signal waits for it, lets it
// make the call again. A time limit that is in a register (epoll_wait), or can be given in one (epoll_pwait2), is
// shortened by what has elapsed; others in memory, and those of a socket, begin anew.
void hide_interrupted_call(StoppedThread& thread, const RemoteMemory& memory);

// Whether the next thing that a thread does is restart_syscall(2).
bool is_about_to_continue_wait(const user_regs_struct& registers, const RemoteMemory& memory);

// A thread stopped inside a restartable sequence must go on at the sequence's abort handler. The kernel sees to that
// only as long as the thread executes nothing else first, which remote calls do; so it is done here, in
// `thread.registers`.
void abort_restartable_sequence(StoppedThread& thread, const RemoteMemory& memory);

// The kernel's codes for "this call is to be made again" (include/linux/errno.h of the kernel).
inline constexpr long kRestartSystemCall = 512;
inline constexpr long kRestartNoInterrupt = 513;
inline constexpr long kRestartNoHandler = 514;
inline constexpr long kRestartBlock = 516;

// `registers` as they must be in a frame for rt_sigreturn(2), which does not restart calls by itself: the correction
// that the kernel makes when it lets a thread go on after an interrupted call. Such a return makes the kernel forget
// how long a relative wait still lasts. If `wait` is given, the thread makes the call again: poll and sleeps that ask
// for the remaining time with what remains, others with their whole time, since the rest could only be told to them in
// memory of the program. Otherwise the call answers EINTR.
user_regs_struct with_call_restarted(user_regs_struct registers, const std::optional<LimitedWait>& wait = {});

}  // namespace crs::engine
