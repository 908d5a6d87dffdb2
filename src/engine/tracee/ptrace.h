// ptrace(2) with errors as exceptions: ESRCH is an Error of kind ProgramGone, everything else one of kind Failed that
// names the thread.
//
// Only the thread that attached may make requests.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/tracee/wait_status.h"

namespace crs::engine::ptrace {

// A thread that does not stop within this time is in an uninterruptible sleep: the operation fails and gives it back.
inline constexpr std::chrono::seconds kStopTimeLimit{10};
// For one that could stop, but gets no processor.
inline constexpr std::chrono::seconds kBusyTimeLimit{60};

void seize(pid_t tid, unsigned long options);
void interrupt(pid_t tid);
void set_options(pid_t tid, unsigned long options);
// The same. False: this process may not use one of them, or the kernel does not know it.
bool try_set_options(pid_t tid, unsigned long options);
// Continues with `request` (PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP), delivering `signal` if it is not 0.
void resume(int request, pid_t tid, int signal = 0);
// Never throws. False: the thread is not stopped, because it is gone or on its way out.
bool detach(pid_t tid, int signal = 0) noexcept;

user_regs_struct registers(pid_t tid);
void set_registers(pid_t tid, const user_regs_struct& registers);
// NT_X86_XSTATE: the XSAVE area in its standard format.
std::vector<std::byte> extended_state(pid_t tid);
void set_extended_state(pid_t tid, const std::vector<std::byte>& state);
std::uint64_t signal_mask(pid_t tid);
void set_signal_mask(pid_t tid, std::uint64_t mask);
unsigned long event_message(pid_t tid);

// Makes a stopped thread, whose signals are all blocked, execute one system call at the `syscall` instruction at
// `at.rip`, with the other registers of `at`. The thread is then in a system-call-exit stop.
struct SystemCallResult {
  std::int64_t value = 0;    // a result, or -errno
  pid_t created_thread = 0;  // with PTRACE_O_TRACECLONE: the thread that the call made, as the caller sees it
};
SystemCallResult make_system_call(pid_t tid, const user_regs_struct& at, long number,
                                  const std::array<std::uint64_t, 6>& arguments);
// The same, but the call finds an interruption waiting when it begins to wait.
std::int64_t make_interrupted_call(pid_t tid, const user_regs_struct& at, long number,
                                   const std::array<std::uint64_t, 6>& arguments);
// The process that a clone(2) has made; throws if there is none (a seccomp filter may answer anything in its place).
pid_t created_by(const SystemCallResult& clone, pid_t tid);
// One half of a call: lets the thread run until it enters or leaves a system call; returns the thread that it made
// meanwhile, or 0.
pid_t run_to_system_call_stop(pid_t tid);

// Ends a traced process with SIGKILL and waits until it is gone.
void end(pid_t pid) noexcept;

// Whether the stopped thread is inside a system call of 32-bit code (int $0x80 works in 64-bit code, too). To be asked
// before it makes a call for this process. False where the kernel does not say (before Linux 5.3).
bool is_in_32_bit_call(pid_t tid);

struct RseqConfiguration {
  std::uint64_t address = 0;  // 0: not registered
  std::uint32_t size = 0;
  std::uint32_t signature = 0;
};
RseqConfiguration rseq_configuration(pid_t tid);

// The stopped thread's seccomp filter number `index`, from 0 for its oldest: struct sock_filter, as bytes. Nothing: it
// has no more. Throws if this process may not see it (CAP_SYS_ADMIN).
std::optional<std::vector<std::byte>> seccomp_filter(pid_t tid, unsigned long index);
// Its SECCOMP_FILTER_FLAG_ flags that can be seen (seccomp(2)).
std::uint64_t seccomp_filter_flags(pid_t tid, unsigned long index);

// Waits for the next stop or end of a traced thread. SIGCHLD must be blocked in the whole calling process, with its
// default action: it is what wakes the wait. Throws if kStopTimeLimit passes, or kBusyTimeLimit.
// `meanwhile` is called now and then where it takes long.
WaitStatus wait(pid_t tid, const std::function<void()>& meanwhile = {});
// What the user can do about a thread that does not stop.
std::string advice_about_wait(pid_t tid);
// As wait(), but a thread that has ended is an Error of kind ProgramGone.
WaitStatus wait_for_stop(pid_t tid, const std::function<void()>& meanwhile = {});

}  // namespace crs::engine::ptrace
