#include "engine/resources/signals/signals.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <set>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/resources/timers/expired_timers.h"

namespace crs::engine {
namespace {

constexpr int kLastSignal = 64;
constexpr std::size_t kSignalSetSize = 8;
// More than any RLIMIT_SIGPENDING in use: a snapshot that claims more is damaged.
constexpr int kMostPending = 1 << 22;
constexpr std::uint32_t kAutodisarm = 1U << 31;  // SS_AUTODISARM of sigaltstack(2)

// struct sigaction as the kernel has it on x86-64.
struct KernelAction {
  std::uint64_t handler = 0;
  std::uint64_t flags = 0;
  std::uint64_t restorer = 0;
  std::uint64_t mask = 0;
  bool operator==(const KernelAction&) const = default;
};

struct KernelStack {
  std::uint64_t address = 0;
  std::int32_t flags = 0;
  std::int32_t padding = 0;
  std::uint64_t size = 0;
};

constexpr std::uint64_t bit_of(int signal) { return std::uint64_t{1} << (signal - 1); }

constexpr bool has_fixed_action(int signal) { return signal == SIGKILL || signal == SIGSTOP; }

constexpr KernelAction kNoAction{};

// A child has them from its parent (fork(2)). Also those at the default action: SA_RESETHAND leaves flags and a mask,
// and SA_NOCLDWAIT keeps zombies away.
std::vector<RemoteCaller::StoringCall> calls_for_actions() {
  std::vector<RemoteCaller::StoringCall> calls;
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (has_fixed_action(signal)) continue;
    calls.push_back({SYS_rt_sigaction, {static_cast<std::uint64_t>(signal), 0, 0, kSignalSetSize}, 2});
  }
  return calls;
}

void capture_actions(RemoteCaller& remote, image::Signals& signals) {
  const std::vector<RemoteCaller::StoringCall> calls = calls_for_actions();
  const std::vector<RemoteCaller::StoredResult> results =
      remote.call_all("rt_sigaction", calls, RemoteCaller::Answer::OfCopyToo);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const auto action = std::bit_cast<KernelAction>(results[i]);
    if (action == kNoAction) continue;
    image::SignalAction& kept = *signals.add_actions();
    kept.set_signal(static_cast<std::uint32_t>(calls[i].arguments[0]));
    kept.set_handler(action.handler);
    kept.set_flags(action.flags);
    kept.set_restorer(action.restorer);
    kept.set_mask(action.mask);
  }
}

// The queued siginfo of thread `tid`, or of its whole process with PTRACE_PEEKSIGINFO_SHARED, oldest first (ptrace(2)).
std::vector<siginfo_t> queued_signals(pid_t tid, std::uint32_t flags) {
  constexpr std::size_t kBatch = 64;
  std::vector<siginfo_t> all;
  std::vector<siginfo_t> batch(kBatch);
  for (;;) {
    __ptrace_peeksiginfo_args request{};
    request.off = all.size();
    request.flags = flags;
    request.nr = kBatch;
    const long got = ::ptrace(PTRACE_PEEKSIGINFO, tid, &request, batch.data());
    if (got < 0 && errno == ESRCH) fail(ErrorKind::ProgramGone, "thread {} ended meanwhile", tid);
    if (got < 0) fail_errno(errno, "cannot read the pending signals of thread {}", tid);
    all.insert(all.end(), batch.begin(), batch.begin() + got);
    if (static_cast<std::size_t>(got) < kBatch) return all;
  }
}

// A signal can be pending without a siginfo, if the kernel had no memory for one. It is then delivered with this one
// (signal(7)).
siginfo_t bare_siginfo(int signal) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_USER;
  return info;
}

// What the program is handed of a siginfo. Kernels before 6.13 show a mark of their own in one of a POSIX timer:
// si_sys_private, which no header names, lies behind si_value.
siginfo_t public_part_of(siginfo_t info) {
  if (info.si_code != SI_TIMER) return info;
  constexpr std::size_t kMark = offsetof(siginfo_t, si_value) + sizeof(sigval);
  std::memset(reinterpret_cast<char*>(&info) + kMark, 0, sizeof(int));
  return info;
}

// `pending_set` is the line SigPnd or ShdPnd. SIGKILL ends the program in any case. SIGSTOP cannot be blocked, so it
// can only be found here if it was sent while the program was being frozen: the original stops as it was told, its
// restart runs.
void capture_pending(pid_t tid, std::uint32_t flags, std::uint64_t pending_set,
                     google::protobuf::RepeatedPtrField<std::string>& kept) {
  std::uint64_t without_siginfo = pending_set;
  std::vector<siginfo_t> queue = queued_signals(tid, flags);
  for (const siginfo_t& info : queue) without_siginfo &= ~bit_of(info.si_signo);
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if ((without_siginfo & bit_of(signal)) != 0) queue.push_back(bare_siginfo(signal));
  }
  for (const siginfo_t& info : queue) {
    if (has_fixed_action(info.si_signo)) continue;
    const siginfo_t shown = public_part_of(info);
    kept.Add(std::string(reinterpret_cast<const char*>(&shown), sizeof shown));
  }
}

siginfo_t siginfo_of(const std::string& bytes) {
  siginfo_t info{};
  if (bytes.size() != sizeof info)
    fail(ErrorKind::Damaged, "a pending signal has {} bytes instead of {}", bytes.size(), sizeof info);
  std::memcpy(&info, bytes.data(), sizeof info);
  const int signal = info.si_signo;
  if (signal < 1 || signal > kLastSignal || has_fixed_action(signal)) {
    fail(ErrorKind::Damaged, "signal {} is noted as pending, which cannot be", signal);
  }
  return info;
}

void check_pending(const google::protobuf::RepeatedPtrField<std::string>& pending) {
  if (pending.size() > kMostPending) fail(ErrorKind::Damaged, "{} signals are noted as pending", pending.size());
  for (const std::string& bytes : pending) siginfo_of(bytes);
}

using Pending = google::protobuf::RepeatedPtrField<std::string>;

// The signals that have one of a timer among what is pending of them. Their order in the queue is the program's to see,
// so all that is pending of such a signal waits for the timers.
std::uint64_t signals_of_timers(const Pending& pending, const image::Timers& timers, pid_t target) {
  std::uint64_t set = 0;
  for (const std::string& bytes : pending) {
    const siginfo_t info = siginfo_of(bytes);
    if (timer_behind(timers, info, target) != nullptr) set |= bit_of(info.si_signo);
  }
  return set;
}

void set_action_inside(int signal, const KernelAction& action) {
  // The C library's sigaction() keeps two signals to itself; the system call does not.
  if (::syscall(SYS_rt_sigaction, signal, &action, nullptr, kSignalSetSize) != 0) {
    fail_errno(errno, "cannot set the action of signal {}", signal);
  }
}

void block_all_signals_inside() {
  const std::uint64_t all = ~std::uint64_t{0};
  if (::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, kSignalSetSize) != 0)
    fail_errno(errno, "cannot block signals");
}

// Every action becomes the default. Ignoring a signal on the way throws away what is pending of it (sigaction(2)): the
// newborn must not hand on a signal of its own life.
void forget_own_signals_inside() {
  const KernelAction ignore{.handler = 1};
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (has_fixed_action(signal)) continue;
    set_action_inside(signal, ignore);
    set_action_inside(signal, KernelAction{});
  }
}

// Where the actions are another process's, too, and set already.
void forget_pending_signals_inside() {
  const std::uint64_t all = ~std::uint64_t{0};
  const timespec at_once{};
  while (::syscall(SYS_rt_sigtimedwait, &all, nullptr, &at_once, kSignalSetSize) > 0) {
  }
}

void set_alternate_stack(RemoteCaller& thread, const image::ThreadSignals& signals) {
  KernelStack stack{};
  stack.address = signals.alternate_stack();
  stack.flags = static_cast<std::int32_t>(signals.alternate_stack_flags());
  stack.size = signals.alternate_stack_size();
  thread.call("sigaltstack", SYS_sigaltstack, thread.put(stack), 0);
}

}  // namespace

void foresee_signals(Questions& questions) {
  std::ranges::move(calls_for_actions(), std::back_inserter(questions.of_copy_too));
}

void foresee_thread_signals(Questions& questions) { questions.of_thread.push_back({SYS_sigaltstack, {}, 1}); }

void capture_signals(CaptureContext& context, image::Signals& signals) {
  const ProcessStatus status = ProcessStatus::of(context.pid);
  if (context.signal_actions_of) {
    signals.set_actions_of(*context.signal_actions_of);
  } else if (!context.only_looks) {
    capture_actions(context.remote, signals);
  }
  capture_pending(context.pid, PTRACE_PEEKSIGINFO_SHARED, status.hexadecimal("ShdPnd"), *signals.mutable_pending());
}

void capture_thread_signals(CaptureContext& context, RemoteCaller& thread, image::ThreadSignals& signals) {
  // What comes later than the first look at the thread, which is later than that at the timers, comes after the stop.
  const std::uint64_t pending_set = context.statuses.of(thread.tid()).hexadecimal("SigPnd");
  if (pending_set != 0) capture_pending(thread.tid(), 0, pending_set, *signals.mutable_pending());
  const RemoteAddress place = thread.scratch();
  thread.call("sigaltstack", SYS_sigaltstack, 0, place);
  const auto stack = thread.get<KernelStack>();
  signals.set_alternate_stack(stack.address);
  signals.set_alternate_stack_size(stack.size);
  signals.set_alternate_stack_flags(static_cast<std::uint32_t>(stack.flags) & (kAutodisarm | SS_DISABLE));
}

void check_signals(CheckContext&, const image::Signals& signals) {
  if (signals.actions_size() > kLastSignal)
    fail(ErrorKind::Damaged, "{} signal actions are noted", signals.actions_size());
  for (const image::SignalAction& action : signals.actions()) {
    const std::uint32_t signal = action.signal();
    if (signal < 1 || signal > kLastSignal || has_fixed_action(static_cast<int>(signal))) {
      fail(ErrorKind::Damaged, "an action of signal {} is noted, which cannot be", signal);
    }
  }
  check_pending(signals.pending());
}

void check_thread_signals(CheckContext&, const image::ThreadSignals& signals) {
  if ((signals.alternate_stack_flags() & ~(kAutodisarm | SS_DISABLE)) != 0) {
    fail(ErrorKind::Damaged, "an alternate signal stack has flags {:#x}, which cannot be",
         signals.alternate_stack_flags());
  }
  check_pending(signals.pending());
}

void restore_signals_inside(NewbornContext&, const image::Signals& signals, const image::Timers& timers) {
  block_all_signals_inside();
  if (signals.has_actions_of()) {
    forget_pending_signals_inside();
  } else {
    forget_own_signals_inside();
  }
  for (const image::SignalAction& kept : signals.actions()) {
    set_action_inside(
        static_cast<int>(kept.signal()),
        {.handler = kept.handler(), .flags = kept.flags(), .restorer = kept.restorer(), .mask = kept.mask()});
  }
  const std::uint64_t later = signals_of_timers(signals.pending(), timers, 0);
  for (const std::string& bytes : signals.pending()) {
    const siginfo_t info = siginfo_of(bytes);
    if ((later & bit_of(info.si_signo)) != 0) continue;
    // A process may send itself any siginfo (rt_sigqueueinfo(2)).
    if (::syscall(SYS_rt_sigqueueinfo, ::syscall(SYS_getpid), info.si_signo, &info) != 0) {
      fail_errno(errno, "cannot make signal {} pending again", info.si_signo);
    }
  }
}

namespace {

// A process, and a thread, may send itself any siginfo (rt_sigqueueinfo(2)).
void queue_for_process(RemoteCaller& main, const siginfo_t& info) {
  const std::int64_t process = main.call("getpid", SYS_getpid);
  main.call("rt_sigqueueinfo", SYS_rt_sigqueueinfo, process, info.si_signo, main.put(info));
}

void queue_for_thread(RemoteCaller& thread, const siginfo_t& info) {
  const std::int64_t process = thread.call("getpid", SYS_getpid);
  const std::int64_t own = thread.call("gettid", SYS_gettid);
  thread.call("rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, process, own, info.si_signo, thread.put(info));
}

bool is_pending_of(pid_t tid, std::uint32_t flags, const image::PosixTimer& timer) {
  return std::ranges::any_of(queued_signals(tid, flags), [&](const siginfo_t& info) {
    return info.si_code == SI_TIMER && info.si_timerid == timer.id() && info.si_signo == timer.signal();
  });
}

// What was left for later: of thread `target` (0: of the process), whose signals `receiver` gets.
void restore_late(RestoreContext& context, RemoteCaller& receiver, pid_t target, const Pending& pending,
                  const image::Timers& timers) {
  const std::uint64_t late = signals_of_timers(pending, timers, target);
  const std::uint32_t flags = target == 0 ? PTRACE_PEEKSIGINFO_SHARED : 0;
  std::set<int> sent;
  for (const std::string& bytes : pending) {
    const siginfo_t info = siginfo_of(bytes);
    if ((late & bit_of(info.si_signo)) == 0) continue;
    const image::PosixTimer* const timer = timer_behind(timers, info, target);
    if (timer != nullptr) {
      // A second one of a timer is no kernel's.
      if (!sent.insert(timer->id()).second) continue;
      if (expire_timer(context, *timer, [&] { return is_pending_of(receiver.tid(), flags, *timer); })) continue;
    }
    target == 0 ? queue_for_process(receiver, info) : queue_for_thread(receiver, info);
  }
}

}  // namespace

void restore_thread_signals(RestoreContext&, RemoteCaller& thread, const image::Thread& image,
                            const image::Timers& timers) {
  set_alternate_stack(thread, image.signals());
  const Pending& pending = image.signals().pending();
  const std::uint64_t later = signals_of_timers(pending, timers, image.tid());
  for (const std::string& bytes : pending) {
    const siginfo_t info = siginfo_of(bytes);
    if ((later & bit_of(info.si_signo)) == 0) queue_for_thread(thread, info);
  }
}

void restore_signals_of_timers(RestoreContext& context, const image::Signals& signals, const image::Threads& threads,
                               const image::Timers& timers) {
  restore_late(context, context.remote, 0, signals.pending(), timers);
  for (const image::Thread& thread : threads.threads()) {
    const auto found = context.threads.find(thread.tid());
    if (found != context.threads.end() && found->second != nullptr)
      restore_late(context, *found->second, thread.tid(), thread.signals().pending(), timers);
  }
}

}  // namespace crs::engine
