#include "engine/tracee/stopped_process.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <ranges>

#include "base/error.h"
#include "engine/procfs/maps.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/tracee/gadgets.h"
#include "engine/tracee/interruption.h"

namespace crs::engine {
namespace {

constexpr unsigned long kTraceOptions = PTRACE_O_TRACESYSGOOD;

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> tids;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), problem)) {
    const std::string name = entry.path().filename();
    pid_t tid = 0;
    std::from_chars(name.data(), name.data() + name.size(), tid);
    tids.push_back(tid);
  }
  if (problem) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", pid);
  // The main thread has the lowest position, whatever the other ids are.
  std::ranges::sort(tids, [pid](pid_t left, pid_t right) {
    return (left != pid) < (right != pid) || ((left == pid) == (right == pid) && left < right);
  });
  return tids;
}

// A thread that is about to disappear may not be traced any more.
bool is_ending(pid_t tid) {
  try {
    const ProcessStatus status = ProcessStatus::of(tid);
    const std::string_view state = status.field("State").value_or("");
    return state.starts_with('Z') || state.starts_with('X');
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::ProgramGone) throw;
    return true;
  }
}

// False: it has not ended. Its tracer is shown a stop whatever kind of change it asks for (wait_task_stopped() in
// kernel/exit.c), which is left to be waited for.
bool see_end_at_once(pid_t tid) {
  constexpr int kOfEnds = WEXITED | WNOHANG | __WALL;
  siginfo_t change{};
  if (::waitid(P_PID, static_cast<id_t>(tid), &change, kOfEnds | WNOWAIT) != 0 || change.si_pid != tid) return false;
  if (change.si_code != CLD_EXITED && change.si_code != CLD_KILLED && change.si_code != CLD_DUMPED) return false;
  return ::waitid(P_PID, static_cast<id_t>(tid), &change, kOfEnds) == 0;
}

// One that SIGKILL has woken from its stop, too.
bool is_about_to_end(pid_t tid) {
  constexpr std::uint64_t kKilled = std::uint64_t{1} << (SIGKILL - 1);
  return is_exiting(tid) || (ProcessStatus::of(tid).hexadecimal("SigPnd") & kKilled) != 0;
}

[[noreturn]] void fail_by_ended_thread(pid_t tid) {
  throw Error(ErrorKind::Refused,
              fmt::format("thread {}, by which its process was to be looked at, has just ended", tid))
      .advise("Try again");
}

[[noreturn]] void explain_failed_seize(pid_t tid, Error& error) {
  if (error.error_number() != EPERM) throw error;
  if (is_ending(tid)) {
    const pid_t process = process_of(tid);
    if (!is_running(living_thread_of(process))) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", process);
    fail_by_ended_thread(tid);
  }
  if (const std::uint64_t tracer = ProcessStatus::of(tid).number("TracerPid"); tracer != 0) {
    throw Error(ErrorKind::Refused,
                fmt::format("process {} is being traced by process {} (a debugger or another checkpoint)", tid, tracer))
        .advise("End that one first");
  }
  throw Error(ErrorKind::Failed, fmt::format("process {} may not be traced by this user: {}", tid, error.what()))
      .advise(
          "It belongs to another user, gave up that right (prctl PR_SET_DUMPABLE), or kernel.yama.ptrace_scope forbids "
          "it; see 'crs check'");
}

// Whether this thread traces it: a thread that executes another program takes the place of its process's main thread,
// and is traced there as it was (ptrace(2), "execve(2) under ptrace").
bool is_traced_here(pid_t tid) {
  try {
    return static_cast<pid_t>(ProcessStatus::of(tid).number("TracerPid")) == ::gettid();
  } catch (const Error&) {
    return false;
  }
}

// The main thread may not be traced from when it has ended until another one that executes a program has taken its
// place, which is a matter of moments. Returns the last error, or nothing.
std::optional<Error> seize_main(pid_t tid) {
  constexpr int kAttempts = 40;
  constexpr timespec kMoment{0, 250'000};
  std::optional<Error> problem;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) ::nanosleep(&kMoment, nullptr);
    try {
      ptrace::seize(tid, kTraceOptions);
      return std::nullopt;
    } catch (const Error& error) {
      problem = error;
    }
    if (is_traced_here(tid)) return std::nullopt;
    const bool may_change = problem->error_number() == EPERM && is_running(living_thread_of(tid));
    const bool is_certain = attempt > 3 && !is_ending(tid);
    if (!may_change || is_certain) return problem;
  }
  return problem;
}

// Such calls have other numbers and other registers, and are made again by another instruction.
void refuse_32_bit_call(const StoppedThread& thread, pid_t pid) {
  if (static_cast<long>(thread.registers.orig_rax) < 0 || !ptrace::is_in_32_bit_call(thread.tid)) return;
  throw Error(ErrorKind::Refused, fmt::format("thread {} of process {} is in a system call of 32-bit code (int $0x80)",
                                              innermost_id(thread.tid), innermost_id(pid)))
      .advise("Try again when it is not: system calls of 64-bit code only can be kept");
}

// The main thread, whatever thread its process is known by.
bool leads_process(pid_t tid) noexcept {
  try {
    return process_of(tid) == tid;
  } catch (const std::exception&) {
    return false;  // it is gone
  }
}

// Too short to sleep.
void give_time(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

}  // namespace

StoppedProcess::StoppedProcess(pid_t pid, const ElapsedInCall& elapsed_in_call, At at)
    : pid_(pid), memory_(pid), since_(std::chrono::steady_clock::now()), call_options_(kTraceOptions) {
  try {
    seize_all();
    RemoteRange vdso{};
    if (at == At::Elsewhere) vdso = find_line(areas(), "[vdso]").value_or(MapsLine{}).range;
    for (StoppedThread& thread : threads_) {
      if (elapsed_in_call) thread.elapsed_in_call = elapsed_in_call(thread.tid);
      leave_passing_places(thread, vdso);
      refuse_32_bit_call(thread, pid);
      hide_interrupted_call(thread, memory_);
      abort_restartable_sequence(thread, memory_);
    }
    find_call_options();
  } catch (const Error& error) {
    is_gone_ = error.kind() == ErrorKind::ProgramGone;
    release();
    throw;
  } catch (...) {
    release();
    throw;
  }
}

StoppedProcess::~StoppedProcess() { release(); }

const std::vector<MapsLine>& StoppedProcess::areas() const {
  if (areas_.empty()) areas_ = read_maps(pid_);
  return areas_;
}

// False: it ends, and is none of the process any more.
bool StoppedProcess::seize(pid_t tid) const {
  if (tid == pid_) {
    if (auto problem = seize_main(tid)) explain_failed_seize(tid, *problem);
    return true;
  }
  try {
    ptrace::seize(tid, kTraceOptions);
    return true;
  } catch (Error& error) {
    if (error.kind() == ErrorKind::ProgramGone || is_ending(tid)) return false;
    explain_failed_seize(tid, error);
  }
}

// New threads may come while the first are being stopped, but only from threads that still run: repeat until none is
// left.
void StoppedProcess::seize_all() {
  bool found_new = true;
  while (found_new) {
    found_new = false;
    const std::size_t first = threads_.size();
    for (const pid_t tid : threads_of(pid_)) {
      if (std::ranges::find(threads_, tid, &StoppedThread::tid) != threads_.end()) continue;
      if (!seize(tid)) continue;
      threads_.emplace_back().tid = tid;
      found_new = true;
      // One that has ended since is found by waiting for it.
      if (::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0 && errno != ESRCH)
        fail_errno(errno, "cannot interrupt thread {}", tid);
    }
    wait_for_threads(first);
  }
}

// A thread that ends instead of stopping is none of the process any more; the main thread's end is the process's, and
// is reported only when that of all others has been seen.
void StoppedProcess::wait_for_threads(std::size_t first) {
  for (std::size_t i = threads_.size(); i-- > first;) {
    try {
      stop(threads_[i]);
      read_state(threads_[i]);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::ProgramGone || threads_[i].tid == pid_) throw;
      if (!threads_[i].has_ended) see_end_of(threads_[i].tid, /*is_certain=*/true);
      threads_.erase(threads_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  // By SIGKILL, or by another thread's exit_group(2), after they had been stopped.
  std::erase_if(threads_, [](const StoppedThread& thread) { return thread.has_ended; });
  if (threads_.empty() || std::ranges::find(threads_, pid_, &StoppedThread::tid) == threads_.end())
    fail(ErrorKind::ProgramGone, "process {} ended meanwhile", pid_);
}

// Of all threads but `awaited`, which may not get on before their ends are seen: a main thread that has ended, one that
// executes another program.
void StoppedProcess::collect_ended(pid_t awaited) {
  bool others_live = false;
  for (StoppedThread& thread : threads_) {
    if (thread.tid == awaited || thread.has_ended) continue;
    thread.has_ended = see_end_at_once(thread.tid);
    others_live = others_live || (!thread.has_ended && !is_exiting(thread.tid));
  }
  if (awaited == pid_ && others_live && is_ending(awaited)) fail_by_ended_thread(awaited);
}

// Waits for the stop that PTRACE_INTERRUPT asked for. A signal that is being delivered just then is let through: the
// thread stops before it executes the first instruction of the handler. A stop for a signal can use the interruption
// up (ptrace_stop() in kernel/signal.c clears JOBCTL_TRAP_STOP), so that is asked for again: once too often does no
// harm.
void StoppedProcess::stop(StoppedThread& thread) {
  while (true) {
    if (thread.has_ended) fail(ErrorKind::ProgramGone, "thread {} ended meanwhile", thread.tid);
    const WaitStatus status = ptrace::wait_for_stop(thread.tid, [&] { collect_ended(thread.tid); });
    if (status.event_stop()) {
      thread.group_stopped = status.group_stop();
      return;
    }
    ptrace::interrupt(thread.tid);
    ptrace::resume(PTRACE_CONT, thread.tid, status.signal_delivery_stop() ? status.signal() : 0);
  }
}

void StoppedProcess::read_state(StoppedThread& thread) {
  thread.registers = ptrace::registers(thread.tid);
  thread.extended_state = ptrace::extended_state(thread.tid);
  thread.signal_mask = ptrace::signal_mask(thread.tid);
  thread.rseq = ptrace::rseq_configuration(thread.tid);
}

// Some places are better left before a thread is looked at; all are short. Just before restart_syscall(2) only the
// kernel knows what the thread waits for; inside that call it can be found out. Inside the vDSO, if it matters. And on
// its way back from a tracer that died, its true registers are still in the signal frame.
void StoppedProcess::leave_passing_places(StoppedThread& thread, const RemoteRange& vdso) {
  constexpr int kAttempts = 1000;
  constexpr std::chrono::microseconds kShortestRun{20};
  constexpr int kDifferentRuns = 8;
  const auto passing = [&] {
    return !thread.group_stopped &&
           (vdso.contains({thread.registers.rip}) || is_about_to_continue_wait(thread.registers, memory_) ||
            is_on_way_back(thread.registers, memory_));
  };
  if (!passing()) return;
  areas_.clear();  // they may be others when it stops again
  for (int attempt = 0; attempt < kAttempts && passing(); ++attempt) {
    ptrace::resume(PTRACE_CONT, thread.tid);
    // Asked to stop before it has a processor again, it would not get on at all.
    give_time(kShortestRun * (attempt % kDifferentRuns + 1));
    ptrace::interrupt(thread.tid);
    stop(thread);
    thread.registers = ptrace::registers(thread.tid);
  }
  read_state(thread);
}

// Not before the thread executes nothing of its own any more: the program is never to get by its filters.
void StoppedProcess::find_call_options() {
  constexpr unsigned long kUnfiltered = kTraceOptions | PTRACE_O_SUSPEND_SECCOMP;
  if (ptrace::try_set_options(threads_.front().tid, kUnfiltered)) call_options_ = kUnfiltered;
}

// Whoever ends while traced stays until its tracer has seen that, and its process with it (ptrace(2), "Death under
// ptrace"). The end of a process is first of all its parent's to see.
void StoppedProcess::see_end_of(pid_t tid, bool is_certain) const noexcept {
  try {
    const bool is_own_child =
        leads_process(tid) && static_cast<pid_t>(ProcessStatus::of(tid).number("PPid")) == ::getpid();
    const bool ends = is_certain || (leads_process(tid) ? !is_running(living_thread_of(tid)) : is_about_to_end(tid));
    if (is_own_child || !ends) return;
    while (true) {
      const WaitStatus next = ptrace::wait(tid);
      if (next.ended() || ptrace::detach(tid, next.signal_delivery_stop() ? next.signal() : 0)) return;
    }
  } catch (const std::exception&) {  // seen already, or it does not end
  }
}

void StoppedProcess::release() noexcept {
  std::vector<pid_t> ending;
  for (const StoppedThread& thread : std::views::reverse(threads_)) {
    // hide_interrupted_call and abort_restartable_sequence may have changed them.
    if (!thread.extended_state.empty()) {
      try {
        ptrace::set_registers(thread.tid, thread.registers);
      } catch (const Error&) {  // it is gone: nothing to give back
      }
    }
    if (!ptrace::detach(thread.tid)) ending.push_back(thread.tid);
  }
  // The main thread's end is reported only after that of all others.
  std::ranges::partition(ending, [](pid_t tid) { return !leads_process(tid); });
  std::ranges::for_each(ending, [this](pid_t tid) { see_end_of(tid, is_gone_); });
  threads_.clear();
}

void StoppedProcess::release_stopped() noexcept {
  ::kill(pid_, SIGSTOP);
  release();
}

namespace {

// What a thread holds when it ends the kernel marks as left by its owner (get_robust_list(2)), also in a file that
// outlives the program and that a restart maps again, where it is held still.
void forget_held_mutexes(pid_t tid, const RemoteMemory& memory) noexcept {
  robust_list_head* head = nullptr;
  std::size_t bytes = 0;
  if (::syscall(SYS_get_robust_list, tid, &head, &bytes) != 0 || head == nullptr || bytes != sizeof *head) return;
  const RemoteAddress place{reinterpret_cast<std::uint64_t>(head)};
  try {
    memory.write_value(place + offsetof(robust_list_head, list), place.value);  // empty
    memory.write_value(place + offsetof(robust_list_head, list_op_pending), std::uint64_t{0});
  } catch (const Error&) {  // it has nothing that could be marked
  }
}

}  // namespace

void StoppedProcess::kill() noexcept {
  for (const StoppedThread& thread : threads_) forget_held_mutexes(thread.tid, memory_);
  ::kill(pid_, SIGKILL);
  // The main thread's end is reported only after that of all others (ptrace(2), "Death under ptrace").
  for (const StoppedThread& thread : std::views::reverse(threads_)) {
    int status = 0;
    while (::waitpid(thread.tid, &status, __WALL) >= 0 && !WIFEXITED(status) && !WIFSIGNALED(status)) {
    }
  }
  threads_.clear();
}

}  // namespace crs::engine
