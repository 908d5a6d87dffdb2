#include "service/signal_trigger.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/signal_name.h"
#include "base/signals_blocked.h"
#include "service/after_fork.h"

namespace crs {
namespace {

// A signal handler is handed nothing of whoever installed it: what it works on belongs to the whole process. Only calls
// that are safe in a handler touch it there, signal-safety(7).
struct Process {
  sem_t deliveries{};
  std::atomic<bool> is_used = false;
  std::atomic<bool> ends = false;
  std::uint64_t generation = 0;
  struct sigaction before{};
};

Process& process() {
  static auto* const only = new Process();  // never destroyed: a signal may come while the program ends
  return *only;
}

void note_delivery(int signal) {
  const int before = errno;
  Process& here = process();
  if (here.generation == fork_generation()) {
    ::sem_post(&here.deliveries);
  } else {
    // In a forked process nobody waits. The signal comes again as this handler returns.
    ::sigaction(signal, &here.before, nullptr);
    ::raise(signal);
  }
  errno = before;
}

struct sigaction action_of(int signal) {
  struct sigaction action{};
  if (::sigaction(signal, nullptr, &action) != 0)
    fail_errno(errno, "asking for the action of {}", name_of_signal(signal));
  return action;
}

bool is_ours(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == note_delivery;
}

// Those that say that the program cannot go on: with a handler that returns it would fail again, for ever. And those
// that have no handler (signal(7)).
void check_fit(int signal) {
  for (const int unfit : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGKILL, SIGSTOP}) {
    if (signal != unfit) continue;
    throw Error(ErrorKind::Usage, fmt::format("{} cannot ask for a checkpoint", name_of_signal(signal)))
        .advise("Choose one that the program has no other use for, such as USR1");
  }
}

}  // namespace

SignalTrigger::SignalTrigger(int signal, std::function<void()> act)
    : signal_(signal), act_(std::move(act)), generation_(fork_generation()) {
  check_fit(signal);
  Process& here = process();
  const bool is_inherited = here.is_used && here.generation != generation_;  // from the process that forked this one
  if (here.is_used.exchange(true) && !is_inherited) fail(ErrorKind::Failed, "this process waits for a signal already");
  const struct sigaction before = action_of(signal);
  const bool is_free = is_ours(before) || (before.sa_flags & SA_SIGINFO) == 0;
  if (!is_free || (!is_ours(before) && before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)) {
    here.is_used = false;
    fail(ErrorKind::Failed, "the program has a handler for {} itself", name_of_signal(signal));
  }
  if (!is_ours(before)) here.before = before;
  here.generation = generation_;
  here.ends = false;
  ::sem_init(&here.deliveries, 0, 0);
  {
    const SignalsBlocked blocked;
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& problem) {
      here.is_used = false;
      throw Error::from_errno(fmt::format("making the thread that waits for {}", name_of_signal(signal)),
                              problem.code().value());
    }
  }
  struct sigaction action{};
  action.sa_handler = note_delivery;
  action.sa_flags = SA_RESTART;
  ::sigfillset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

SignalTrigger::~SignalTrigger() {
  Process& here = process();
  if (generation_ != fork_generation()) {
    thread_.detach();  // it is not here
    return;
  }
  if (is_ours(action_of(signal_))) ::sigaction(signal_, &here.before, nullptr);
  here.ends = true;
  ::sem_post(&here.deliveries);
  thread_.join();
  here.is_used = false;
}

void SignalTrigger::run() {
  ::pthread_setname_np(::pthread_self(), "crs signal");
  for (Process& here = process();;) {
    if (::sem_wait(&here.deliveries) != 0) continue;  // EINTR
    if (here.ends) return;
    act_();
  }
}

}  // namespace crs
