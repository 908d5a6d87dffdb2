#include "engine/resources/threads/timed_wait.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"
#include "engine/resources/credentials/seccomp_answer.h"
#include "engine/tracee/interruption.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kSecond = 1000000000;
constexpr std::uint64_t kMillisecond = 1000000;

// The kernel functions that the calls wait in; they tell which one restart_syscall(2) continues.
struct Channel {
  std::string_view function;
  int call;
};
constexpr std::array<Channel, 7> kChannels{
    {{"hrtimer_nanosleep", SYS_nanosleep},
     {"do_syscall_64", SYS_nanosleep},  // it calls the sleep's continuation as its last act
     {"do_nanosleep", SYS_nanosleep},
     {"common_nsleep", SYS_clock_nanosleep},
     {"do_sys_poll", SYS_poll},
     {"poll_schedule_timeout", SYS_poll},
     {"futex", SYS_futex}}};

std::string first_word_after(const std::string& text, std::string_view name) {
  const std::size_t line = text.find(name);
  if (line == std::string::npos) return {};
  const std::size_t colon = text.find(':', line);
  const std::size_t start = text.find_first_not_of(" \t", colon + 1);
  return text.substr(start, text.find_first_of(" \n", start) - start);
}

// The scheduler's clock at which a thread last began or ended to run (/proc/PID/task/TID/sched, in milliseconds).
std::optional<std::uint64_t> last_ran(const std::string& task) {
  const std::string field = first_word_after(read_file(task + "/sched"), "se.exec_start");
  double milliseconds = 0;
  const auto [end, problem] = std::from_chars(field.data(), field.data() + field.size(), milliseconds);
  if (problem != std::errc{}) return std::nullopt;
  return static_cast<std::uint64_t>(milliseconds * 1e6);
}

// The scheduler's clocks. Each processor has its own, which stands still while the processor is stolen from this
// (virtual) machine, so times on one say nothing on another. Each is read by running there for a moment; the caller's
// affinity is given back at the end.
class SchedulerClocks {
 public:
  SchedulerClocks() { ::sched_getaffinity(0, sizeof before_, &before_); }
  ~SchedulerClocks() { ::sched_setaffinity(0, sizeof before_, &before_); }
  SchedulerClocks(const SchedulerClocks&) = delete;
  SchedulerClocks& operator=(const SchedulerClocks&) = delete;

  std::optional<std::uint64_t> now(int processor) {
    const auto known = offsets_.find(processor);
    if (known != offsets_.end()) return monotonic_nanoseconds() + known->second;
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(static_cast<std::size_t>(processor), &only);
    if (::sched_setaffinity(0, sizeof only, &only) != 0) return std::nullopt;
    ::sched_yield();
    const std::optional<std::uint64_t> there = last_ran("/proc/thread-self");
    if (!there) return std::nullopt;
    offsets_[processor] = *there - monotonic_nanoseconds();
    return there;
  }

 private:
  cpu_set_t before_{};
  std::map<int, std::uint64_t> offsets_;  // from CLOCK_MONOTONIC, modulo 2^64
};

// The processor that a thread last ran on (proc_pid_stat(5), field 39).
int last_processor(const std::string& task) { return std::atoi(stat_field(task, 39).c_str()); }

// Whether a thread has not been there for long (proc_pid_stat(5), field 22).
bool is_young(const std::string& task) {
  constexpr double kYoung = 1;  // seconds
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const double age = static_cast<double>(now.tv_sec) -
                     std::strtod(stat_field(task, 22).c_str(), nullptr) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return age < kYoung;
}

// The number of the call that a thread waits in (proc_pid_syscall(5)). After a restart a thread that runs may be on its
// way back into its wait: it is asked again a few times, all threads of a program together. The others run because they
// have work to do, and where one has the same processor as this process, each yield takes milliseconds.
class CallFinder {
 public:
  std::optional<int> find(const std::string& task) {
    while (true) {
      int call = 0;
      const std::string text = read_file(task + "/syscall");
      if (std::from_chars(text.data(), text.data() + text.size(), call).ec == std::errc{}) return call;
      if (attempts_ == 0 || Clock::now() > deadline_ || !is_young(task)) return std::nullopt;
      --attempts_;
      ::sched_yield();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  int attempts_ = 20;
  Clock::time_point deadline_ = Clock::now() + std::chrono::milliseconds(100);
};

std::uint64_t nanoseconds_of(const timespec& time) {
  if (time.tv_sec < 0) return 0;
  return static_cast<std::uint64_t>(time.tv_sec) * kSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

// Which call restart_syscall(2) continues is known to the kernel alone; the place it waits in tells.
std::optional<int> call_of(const StoppedThread& thread, const WaitsBefore::Wait* wait) {
  const auto call = static_cast<int>(thread.registers.orig_rax);
  if (call != SYS_restart_syscall) return call;
  if (wait == nullptr) return std::nullopt;
  for (const Channel& channel : kChannels) {
    if (wait->channel.find(channel.function) == std::string::npos) continue;
    // nanosleep and clock_nanosleep wait in the same place; the clocks' numbers are far below any address.
    if (channel.call == SYS_nanosleep && thread.registers.rdi < kPageSize) return SYS_clock_nanosleep;
    return channel.call;
  }
  return std::nullopt;
}

// The time limit as the call's arguments have it. Sleeps that ask for it were told by the kernel what remained when
// they were stopped.
struct Limit {
  std::uint64_t nanoseconds = 0;
  bool is_remaining = false;
};

// Those that are negative are of one process or thread (clock_getcpuclockid(3)).
bool counts_processor_time(clockid_t clock) {
  return clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID || clock < 0;
}

std::optional<Limit> limit_of(int call, const user_regs_struct& registers, const RemoteMemory& memory) {
  const auto time_at = [&](std::uint64_t address) { return nanoseconds_of(memory.read_value<timespec>({address})); };
  switch (call) {
    case SYS_nanosleep:
      if (registers.rsi != 0) return Limit{time_at(registers.rsi), true};
      return Limit{time_at(registers.rdi), false};
    case SYS_clock_nanosleep:
      if (registers.r10 != 0) return Limit{time_at(registers.r10), true};
      // How much processor time has passed is known to the kernel alone: the limit begins anew.
      return Limit{time_at(registers.rdx), counts_processor_time(static_cast<clockid_t>(registers.rdi))};
    case SYS_poll:
      return Limit{static_cast<std::uint64_t>(std::max(0, static_cast<int>(registers.rdx))) * kMillisecond, false};
    case SYS_futex:
      if ((registers.rsi & FUTEX_CMD_MASK) != FUTEX_WAIT || registers.r10 == 0) return std::nullopt;
      return Limit{time_at(registers.r10), false};
    default:
      return std::nullopt;
  }
}

}  // namespace

WaitsBefore::WaitsBefore(pid_t pid) noexcept {
  try {
    SchedulerClocks clocks;
    CallFinder calls;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
      const std::string task = entry.path();
      Wait wait;
      const std::optional<int> call = calls.find(task);
      if (!call) continue;
      wait.call = *call;
      wait.channel = read_file(task + "/wchan");
      const std::optional<std::uint64_t> then = last_ran(task);
      const std::optional<std::uint64_t> now = clocks.now(last_processor(task));
      if (now && then && *now > *then) wait.since = monotonic_nanoseconds() - (*now - *then);
      const std::string name = entry.path().filename();
      pid_t tid = 0;
      std::from_chars(name.data(), name.data() + name.size(), tid);
      wait.sleeps = sleeps_of(tid);
      waits_.emplace(tid, std::move(wait));
    }
  } catch (const std::exception&) {  // the process changes or hides: the freeze will tell
  }
}

const WaitsBefore::Wait* WaitsBefore::find(pid_t tid) const {
  const auto found = waits_.find(tid);
  return found == waits_.end() ? nullptr : &found->second;
}

std::optional<std::uint64_t> WaitsBefore::elapsed(pid_t tid) const {
  const Wait* const wait = find(tid);
  // Being stopped by a tracer is itself one more sleep.
  if (wait == nullptr || !wait->since || sleeps_of(tid) > wait->sleeps + 1) return std::nullopt;
  return monotonic_nanoseconds() - *wait->since;
}

bool is_timed_wait(int call) {
  return call == SYS_nanosleep || call == SYS_clock_nanosleep || call == SYS_poll || call == SYS_futex;
}

namespace {

std::optional<LimitedWait> find_limited_wait(const StoppedThread& thread, const RemoteMemory& memory,
                                             const WaitsBefore& waits, const RememberedWaits& remembered) {
  if (static_cast<long>(thread.registers.rax) != -kRestartBlock) return std::nullopt;
  const WaitsBefore::Wait* const wait = waits.find(thread.tid);
  const bool is_continued = thread.registers.orig_rax == SYS_restart_syscall;
  // A thread that was still on its way back into its wait when it was looked at has been stopped since: one more sleep.
  const auto sleeps = [&] { return wait != nullptr ? wait->sleeps : sleeps_of(thread.tid) - 1; };
  const RememberedWait* const known = is_continued ? remembered.find(thread.tid, sleeps()) : nullptr;
  const std::optional<int> call = known != nullptr ? known->call : call_of(thread, wait);
  if (!call || !is_timed_wait(*call)) return std::nullopt;
  LimitedWait result{.call = *call, .remaining = {}, .end = 0};
  const std::optional<Limit> limit = limit_of(*call, thread.registers, memory);
  if (!limit) return result;
  const std::uint64_t now = monotonic_nanoseconds();
  const std::uint64_t elapsed = limit->is_remaining ? 0 : thread.elapsed_in_call.value_or(0);
  result.end = now + limit->nanoseconds - std::min(elapsed, limit->nanoseconds);
  // What is remembered can only shorten the rest.
  if (known != nullptr && !limit->is_remaining) result.end = std::min(result.end, known->end);
  result.remaining = std::max(result.end, now + 1) - now;
  return result;
}

}  // namespace

void note_limited_waits(StoppedProcess& process, const WaitsBefore& waits, const RememberedWaits& remembered) {
  for (StoppedThread& thread : process.threads()) {
    thread.wait = find_limited_wait(thread, process.memory(), waits, remembered);
    if (!thread.wait || may_continue_wait(thread.tid, thread.registers)) continue;
    thread.registers = with_call_restarted(thread.registers, thread.wait);
    thread.wait.reset();
  }
}

user_regs_struct continue_timed_wait(NewbornThread& thread, user_regs_struct registers, const image::TimedWait& wait) {
  std::array<std::uint64_t, 6> arguments{registers.rdi, registers.rsi, registers.rdx,
                                         registers.r10, registers.r8,  registers.r9};
  const std::uint64_t remaining = wait.remaining_nanoseconds();
  const auto time = [&] {
    const timespec value{static_cast<time_t>(remaining / kSecond), static_cast<long>(remaining % kSecond)};
    return thread.put(value).value;
  };
  switch (wait.call()) {
    case SYS_nanosleep:
      arguments[0] = time();
      break;
    case SYS_clock_nanosleep:
      arguments[2] = time();
      break;
    case SYS_poll:
      if (static_cast<int>(arguments[2]) >= 0) arguments[2] = (remaining + kMillisecond - 1) / kMillisecond;
      break;
    case SYS_futex:
      if ((arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT) arguments[3] = time();
      break;
    default:
      break;
  }
  const std::int64_t result = thread.interrupted_call(wait.call(), arguments);
  if (result == -kRestartBlock) return registers;
  if (result == -kRestartSystemCall || result == -kRestartNoHandler || result == -kRestartNoInterrupt) {
    // An absolute time limit needs no help: the kernel makes the call again as it was.
    registers.orig_rax = static_cast<std::uint64_t>(wait.call());
    registers.rax = static_cast<std::uint64_t>(result);
    return registers;
  }
  registers.rax = static_cast<std::uint64_t>(result);
  registers.orig_rax = ~std::uint64_t{0};
  return registers;
}

}  // namespace crs::engine
