// All threads of a living process, stopped as a debugger stops them, and given back at the end of the scope.
//
// If this process dies meanwhile, the kernel lets the threads go on by itself: nothing was changed in them.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/procfs/maps.h"
#include "engine/tracee/ptrace.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

// A wait of limited length that only the kernel can continue (restart_syscall(2)).
struct LimitedWait {
  int call = 0;                            // the system call's number
  std::optional<std::uint64_t> remaining;  // nanoseconds; nothing if the limit is a date, which needs no help
  std::uint64_t end = 0;                   // the same as a time of CLOCK_MONOTONIC, in nanoseconds
};

struct StoppedThread {
  pid_t tid = 0;  // as the caller sees it
  // What the thread goes on with, here and in a restarted copy. Inside a system call, `orig_rax` is its number and
  // `rax` may be one of the kernel's -ERESTART codes: the kernel restarts the call when the thread is let go.
  user_regs_struct registers{};
  std::vector<std::byte> extended_state;  // as ptrace::extended_state
  std::uint64_t signal_mask = 0;
  ptrace::RseqConfiguration rseq;
  bool group_stopped = false;                    // by job control
  bool has_ended = false;                        // and that was seen (only while the process is being stopped)
  std::optional<std::uint64_t> elapsed_in_call;  // nanoseconds it had been waiting in its system call, if that is known
  std::optional<LimitedWait> wait;               // set by note_limited_waits() if it was caught in one
};

class StoppedProcess {
 public:
  // Stops every thread of `pid` (an id as living_thread_of() gives it), also those created meanwhile. Throws what
  // stands in the way (no such process, permission, a debugger); every thread stopped so far is then let go.
  // `elapsed_in_call` says for how many nanoseconds a thread had been waiting in its system call, if that is known; it
  // may be empty.
  using ElapsedInCall = std::function<std::optional<std::uint64_t>(pid_t)>;
  // Elsewhere: no thread is inside the vDSO, where it may hold half of a clock reading, which is worth nothing under
  // another kernel or after another boot. A thread that does little but read clocks takes some attempts.
  enum class At { Elsewhere, AnyPlace };
  explicit StoppedProcess(pid_t pid, const ElapsedInCall& elapsed_in_call = {}, At at = At::Elsewhere);
  ~StoppedProcess();
  StoppedProcess(const StoppedProcess&) = delete;
  StoppedProcess& operator=(const StoppedProcess&) = delete;

  pid_t pid() const noexcept { return pid_; }
  // Main thread first, unless it has ended.
  const std::vector<StoppedThread>& threads() const noexcept { return threads_; }
  std::vector<StoppedThread>& threads() noexcept { return threads_; }
  const RemoteMemory& memory() const noexcept { return memory_; }
  // PTRACE_O_ options for threads that are to make remote calls. Where this process may ask for it the calls are not
  // subject to the thread's seccomp filters; its own are, as soon as it is let go.
  unsigned long call_options() const noexcept { return call_options_; }
  // Its memory areas when it had been stopped.
  const std::vector<MapsLine>& areas() const;
  // When the first thread was about to be stopped.
  std::chrono::steady_clock::time_point since() const noexcept { return since_; }

  // Lets every thread go on; the destructor does the same.
  void release() noexcept;
  // Lets every thread go, into a stop by job control (SIGSTOP).
  void release_stopped() noexcept;
  // Ends the process with SIGKILL and waits until it is gone.
  void kill() noexcept;

 private:
  bool seize(pid_t tid) const;
  void seize_all();
  void wait_for_threads(std::size_t first);
  void stop(StoppedThread& thread);
  void read_state(StoppedThread& thread);
  void leave_passing_places(StoppedThread& thread, const RemoteRange& vdso);
  void find_call_options();
  void see_end_of(pid_t tid, bool is_certain) const noexcept;
  void collect_ended(pid_t awaited);

  pid_t pid_;
  RemoteMemory memory_;
  std::chrono::steady_clock::time_point since_;
  std::vector<StoppedThread> threads_;
  mutable std::vector<MapsLine> areas_;  // empty: not read yet
  unsigned long call_options_;
  bool is_gone_ = false;
};

}  // namespace crs::engine
