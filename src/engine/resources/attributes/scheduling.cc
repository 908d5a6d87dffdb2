#include "engine/resources/attributes/scheduling.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "engine/machine/capabilities.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

constexpr int kOneThread = 1;                          // IOPRIO_WHO_PROCESS of ioprio_set(2), which means a thread
constexpr std::size_t kMostProcessorBytes = 8192 / 8;  // the largest CONFIG_NR_CPUS of x86-64
constexpr std::uint32_t kDeadline = 6;                 // SCHED_DEADLINE
// Flags of sched_setattr(2): leave policy and parameters, set both utilization bounds.
constexpr std::uint64_t kOnlyUtilization = 0x08 | 0x10 | 0x20 | 0x40;

// struct sched_attr of sched_setattr(2), whose header does not go together with the C library's.
struct KernelScheduling {
  std::uint32_t size = 0;
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0;
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
  std::uint32_t utilization_minimum = 0;
  std::uint32_t utilization_maximum = 0;
};

using Processors = std::array<std::uint8_t, kMostProcessorBytes>;

bool is_real_time(std::uint32_t policy) { return policy == SCHED_FIFO || policy == SCHED_RR || policy == kDeadline; }

KernelScheduling scheduling_of(pid_t tid) {
  KernelScheduling scheduling{};
  if (::syscall(SYS_sched_getattr, tid, &scheduling, sizeof scheduling, 0) != 0) {
    if (errno == ESRCH) fail(ErrorKind::ProgramGone, "thread {} ended meanwhile", tid);
    fail_errno(errno, "cannot read how thread {} is scheduled", tid);
  }
  return scheduling;
}

// Since Linux 6.12 `sched_runtime` of an ordinary thread is its time slice: that of the system, unless it was set, for
// itself or for one of those it descends from.
std::uint64_t own_runtime(const KernelScheduling& scheduling, std::uint64_t slice_of_system) {
  return scheduling.policy != kDeadline && scheduling.runtime == slice_of_system ? 0 : scheduling.runtime;
}

// What that of the system is shows in a thread that has given up its own.
std::uint64_t find_slice_of_system() {
  std::uint64_t slice = 0;
  std::thread([&slice] {
    take_time_slice_of_system();
    slice = scheduling_of(0).runtime;
  }).join();
  return slice;
}

// Of the kernel's bytes only those are returned that hold a processor.
std::string processors_of(pid_t tid) {
  Processors set{};
  const long bytes = ::syscall(SYS_sched_getaffinity, tid, set.size(), set.data());
  if (bytes < 0 && errno == ESRCH) fail(ErrorKind::ProgramGone, "thread {} ended meanwhile", tid);
  if (bytes < 0) fail_errno(errno, "cannot read the allowed processors of thread {}", tid);
  std::string kept(reinterpret_cast<const char*>(set.data()), static_cast<std::size_t>(bytes));
  kept.resize(kept.find_last_not_of('\0') + 1);
  return kept;
}

int count(std::string_view processors) {
  int total = 0;
  for (const char byte : processors) total += __builtin_popcount(static_cast<unsigned char>(byte));
  return total;
}

bool is_unrestricted(const std::string& processors) { return count(processors) >= ::sysconf(_SC_NPROCESSORS_ONLN); }

std::uint32_t io_priority_of(pid_t tid) {
  const long priority = ::syscall(SYS_ioprio_get, kOneThread, tid);
  return priority < 0 ? 0 : static_cast<std::uint32_t>(priority);
}

// To be asked where this process has the system's time slice.
bool same_scheduling(const image::Scheduling& wanted, const KernelScheduling& now) {
  return wanted.policy() == now.policy && wanted.flags() == now.flags && wanted.priority() == now.priority &&
         wanted.runtime() == own_runtime(now, scheduling_of(0).runtime) && wanted.deadline() == now.deadline &&
         wanted.period() == now.period;
}

KernelScheduling kernel_scheduling(const image::Scheduling& kept) {
  KernelScheduling scheduling{};
  scheduling.size = sizeof scheduling;
  scheduling.policy = kept.policy();
  scheduling.flags = kept.flags();
  scheduling.priority = kept.priority();
  scheduling.runtime = kept.runtime();
  scheduling.deadline = kept.deadline();
  scheduling.period = kept.period();
  return scheduling;
}

int set_scheduling(pid_t tid, KernelScheduling& scheduling) {
  return ::syscall(SYS_sched_setattr, tid, &scheduling, 0) == 0 ? 0 : errno;
}

// Real-time threads and SCHED_IDLE have a nice value too, which shows when they become ordinary again; sched_setattr(2)
// leaves it alone.
int nice_of(pid_t tid) {
  constexpr int kNiceOffset =
      20;  // the system call itself returns 20 - nice (getpriority(2), "C library/kernel differences")
  const long priority = ::syscall(SYS_getpriority, PRIO_PROCESS, tid);
  if (priority < 0) fail_errno(errno, "cannot read the nice value of thread {}", tid);
  return kNiceOffset - static_cast<int>(priority);
}

bool is_not_permitted(int problem) { return problem == EPERM || problem == EACCES; }

void restore_policy(pid_t tid, const image::Scheduling& wanted, std::vector<std::string>& notes) {
  const KernelScheduling now = scheduling_of(tid);
  if (same_scheduling(wanted, now)) return;
  KernelScheduling scheduling = kernel_scheduling(wanted);
  scheduling.nice = nice_of(tid);
  const int problem = set_scheduling(tid, scheduling);
  if (problem == 0) return;
  if (is_real_time(wanted.policy()) || !is_not_permitted(problem)) {
    Error error = Error::from_errno(fmt::format("cannot give thread {} its scheduling policy {} and priority {} back",
                                                tid, wanted.policy(), wanted.priority()),
                                    problem);
    throw error.advise(wanted.policy() == kDeadline
                           ? "Restart it as root, and where it may use all processors (sched(7)): without taskset, in "
                             "no smaller cpuset"
                           : "Restart it as root, or with a limit for real-time priorities (ulimit -r) that allows it");
  }
  add_once(notes, fmt::format("the scheduling policy stays at {} instead of {}, which crs restart may not set",
                              now.policy, wanted.policy()));
}

void restore_nice(pid_t tid, int wanted, std::vector<std::string>& notes) {
  const int now = nice_of(tid);
  if (now == wanted || ::syscall(SYS_setpriority, PRIO_PROCESS, tid, wanted) == 0) return;
  if (!is_not_permitted(errno)) fail_errno(errno, "cannot set the nice value of thread {}", tid);
  add_once(notes, fmt::format("the nice value stays at {} instead of {}, which crs restart may not set", now, wanted));
}

void restore_utilization(pid_t tid, const image::Scheduling& wanted, std::vector<std::string>& notes) {
  KernelScheduling now = scheduling_of(tid);
  if (wanted.utilization_minimum() == now.utilization_minimum &&
      wanted.utilization_maximum() == now.utilization_maximum)
    return;
  now.flags |= kOnlyUtilization;
  now.utilization_minimum = wanted.utilization_minimum();
  now.utilization_maximum = wanted.utilization_maximum();
  if (set_scheduling(tid, now) != 0) add_once(notes, "the utilization bounds of the scheduler could not be set");
}

void restore_processors(pid_t tid, const std::string& wanted, std::vector<std::string>& notes) {
  if (wanted.empty() || processors_of(tid) == wanted) return;
  // The kernel takes away what the machine or the control group does not have, and says EINVAL if nothing remains.
  if (::syscall(SYS_sched_setaffinity, tid, wanted.size(), wanted.data()) != 0) {
    if (errno != EINVAL) fail_errno(errno, "cannot set the allowed processors of thread {}", tid);
    add_once(notes,
             "none of the processors that a thread was bound to is here: it may use all that crs restart may use");
    return;
  }
  const int here = count(processors_of(tid));
  if (here < count(wanted)) {
    add_once(notes, fmt::format("a thread was bound to {} processors, of which {} are here", count(wanted), here));
  }
}

void restore_io_priority(pid_t tid, std::uint32_t wanted, std::vector<std::string>& notes) {
  if (io_priority_of(tid) == wanted) return;
  if (::syscall(SYS_ioprio_set, kOneThread, tid, wanted) == 0) return;
  add_once(notes,
           fmt::format("the I/O priority {:#x} could not be set: {}", wanted, std::string(::strerrordesc_np(errno))));
}

// What a process may set of itself, by capability or by limit (sched(7), "Privileges and resource limits").
bool may_be_set(const KernelScheduling& scheduling) {
  if (!is_real_time(scheduling.policy) || has_capability(CAP_SYS_NICE)) return true;
  rlimit limit{};
  if (::getrlimit(RLIMIT_RTPRIO, &limit) != 0) fail_errno(errno, "cannot read the limit of real-time priorities");
  return scheduling.policy != kDeadline && scheduling.priority <= limit.rlim_cur;
}

}  // namespace

void take_time_slice_of_system() noexcept {
  KernelScheduling own{};
  const bool is_known = ::syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) == 0;
  if (!is_known || own.runtime == 0 || is_real_time(own.policy)) return;
  own.runtime = 0;
  set_scheduling(0, own);
}

void foresee_scheduling(Surroundings& surroundings) { surroundings.time_slice(find_slice_of_system); }

void add_once(std::vector<std::string>& notes, std::string note) {
  if (std::ranges::find(notes, note) == notes.end()) notes.push_back(std::move(note));
}

void capture_scheduling(CaptureContext& context, pid_t tid, image::ThreadAttributes& attributes) {
  const KernelScheduling now = scheduling_of(tid);
  if (!may_be_set(now)) {
    tell_lack(
        context,
        fmt::format("thread {} of process {} has the real-time policy {} with priority {}, which this user may not "
                    "give it again",
                    innermost_id(tid), context.own_pid, now.policy, now.priority),
        now.policy == kDeadline
            ? "take and restart it as root"
            : "take and restart it as root, or with a limit for real-time priorities (ulimit -r) that allows it");
  }
  image::Scheduling& kept = *attributes.mutable_scheduling();
  kept.set_policy(now.policy);
  kept.set_flags(now.flags);
  kept.set_nice(nice_of(tid));
  kept.set_priority(now.priority);
  kept.set_runtime(own_runtime(now, context.surroundings->time_slice(find_slice_of_system)));
  kept.set_deadline(now.deadline);
  kept.set_period(now.period);
  kept.set_utilization_minimum(now.utilization_minimum);
  kept.set_utilization_maximum(now.utilization_maximum);
  std::string processors = processors_of(tid);
  if (!is_unrestricted(processors)) attributes.set_processors(std::move(processors));
  attributes.set_io_priority(io_priority_of(tid));
}

void check_scheduling(const image::ThreadAttributes& attributes) {
  if (attributes.processors().size() > kMostProcessorBytes)
    fail(ErrorKind::Damaged, "a thread's processors take {} bytes", attributes.processors().size());
  if (attributes.scheduling().nice() < -20 || attributes.scheduling().nice() > 19) {
    fail(ErrorKind::Damaged, "a thread has nice value {}, which cannot be", attributes.scheduling().nice());
  }
}

void restore_scheduling(pid_t tid, const image::ThreadAttributes& attributes, std::vector<std::string>& notes) {
  restore_processors(tid, attributes.processors(), notes);
  restore_policy(tid, attributes.scheduling(), notes);
  restore_nice(tid, attributes.scheduling().nice(), notes);
  restore_utilization(tid, attributes.scheduling(), notes);
  restore_io_priority(tid, attributes.io_priority(), notes);
}

}  // namespace crs::engine
