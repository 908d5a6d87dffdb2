#include "cli/foreground_program.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/tree.h"

namespace crs::cli {
namespace {

bool is_stop_of_terminal(int signal) { return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU; }

// Whether the kernel sent `signal` to a whole process group on the terminal's behalf. A session leader gets SIGHUP and
// SIGCONT on its own when the terminal hangs up (tty_ioctl(4), credentials(7)).
bool is_for_group(const siginfo_t& signal) {
  if (signal.si_code != SI_KERNEL) return false;
  switch (signal.si_signo) {
    case SIGHUP:
    case SIGCONT:
      return ::getsid(0) != ::getpid();
    case SIGINT:
    case SIGQUIT:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGWINCH:
      return true;
    default:
      return false;
  }
}

// Waits for a signal, or until the companion has something to do: false.
bool next_signal(siginfo_t& signal, const Companion* companion) {
  sigset_t all;
  ::sigfillset(&all);
  const auto limit = companion != nullptr ? companion->wait_limit() : std::nullopt;
  if (!limit) return ::sigwaitinfo(&all, &signal) > 0;
  constexpr long kSecond = 1'000'000'000;
  const timespec time{limit->count() / kSecond, limit->count() % kSecond};
  return ::sigtimedwait(&all, &signal, &time) > 0;
}

// Takes away the orphans that this process has adopted and that have ended.
void take_orphans(pid_t program, const Companion* companion) {
  while (true) {
    siginfo_t ended{};
    if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
    // The others come when that one has been waited for.
    if (ended.si_pid == program || (companion != nullptr && companion->waits_for(ended.si_pid))) return;
    ::waitpid(ended.si_pid, nullptr, WNOHANG);
  }
}

}  // namespace

void adopt_orphans() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  ::prctl(PR_SET_NAME, engine::kRunnerName);
}

ForegroundProgram::ForegroundProgram(pid_t pid, pid_t wait_pid, std::unique_ptr<ForegroundTerminal> terminal)
    : pid_(pid),
      wait_pid_(wait_pid),
      process_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))),
      terminal_(std::move(terminal)) {
  ::sigemptyset(&had_);
  terminal_->lend();
}

bool ForegroundProgram::reached_program(const siginfo_t& signal) const {
  return is_for_group(signal) && ::getpgid(pid_) == ::getpgrp();
}

int ForegroundProgram::wait(Companion* companion) {
  while (true) {
    // Looked at before the first signal, too: the program may have ended or stopped before signals were waited for.
    if (handle_program() == Progress::Ended) return exit_status_;
    // Of a program that is not our child, its parent's SIGCHLD says that it has stopped but not by which signal; the
    // terminal's own comes to us as well if it is in our group.
    if (wait_pid_ != pid_ && stopped()) stop_along(terminal_stop_ != 0 ? terminal_stop_ : SIGSTOP);
    if (companion != nullptr) companion->act();
    take_orphans(wait_pid_, companion);
    siginfo_t signal{};
    if (next_signal(signal, companion) && signal.si_signo != SIGCHLD) handle(signal, companion);
  }
}

ForegroundProgram::Progress ForegroundProgram::handle_program() {
  int status = 0;
  while (true) {
    const pid_t child = ::waitpid(wait_pid_, &status, WNOHANG | WUNTRACED);
    if (child < 0 && errno == EINTR) continue;
    if (child < 0) fail_errno(errno, "waiting for process {}", wait_pid_);
    if (child == 0) return Progress::Running;
    if (WIFSTOPPED(status)) {
      stop_along(WSTOPSIG(status));
      continue;
    }
    killed_ = WIFSIGNALED(status);
    exit_status_ = killed_ ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return Progress::Ended;
  }
}

void ForegroundProgram::handle(const siginfo_t& signal, Companion* companion) {
  // The kernel's answer to a write of our own (SIGPIPE).
  if (signal.si_code == SI_USER && signal.si_pid == ::getpid()) return;
  if (companion != nullptr && companion->takes(signal.si_signo)) return;
  ::sigaddset(&had_, signal.si_signo);
  if (is_stop_of_terminal(signal.si_signo)) terminal_stop_ = signal.si_signo;
  if (!reached_program(signal)) forward(signal);
}

void ForegroundProgram::forward(const siginfo_t& signal) const {
  // With a value that sigqueue(3) gave it; everything else comes from us (pidfd_send_signal(2) allows no other sender).
  const siginfo_t* information = signal.si_code == SI_QUEUE ? &signal : nullptr;
  if (::syscall(SYS_pidfd_send_signal, process_.get(), signal.si_signo, information, 0) != 0 &&
      information != nullptr) {
    ::syscall(SYS_pidfd_send_signal, process_.get(), signal.si_signo, nullptr, 0);
  }
}

bool ForegroundProgram::stopped() const {
  try {
    const std::string stat = read_file("/proc/" + std::to_string(pid_) + "/stat", 65536);
    const std::size_t name_end = stat.rfind(") ");
    return name_end != std::string::npos && stat.size() > name_end + 2 && stat[name_end + 2] == 'T';
  } catch (const Error&) {
    return false;  // it has gone
  }
}

// A program with a service is stopped for a moment when its snapshot is complete, and once more before it is killed.
bool ForegroundProgram::stays_stopped() const {
  constexpr std::chrono::milliseconds kMoment{300};
  constexpr std::chrono::milliseconds kPause{5};
  for (const auto end = std::chrono::steady_clock::now() + kMoment; std::chrono::steady_clock::now() < end;) {
    if (!stopped()) return false;
    std::this_thread::sleep_for(kPause);
  }
  return stopped();
}

void ForegroundProgram::stop_along(int signal) {
  // A program that was stopped by a plain SIGSTOP is continued by its process id as often as through the shell. Only a
  // shell's own job (a group of its own on a terminal) stops along then: elsewhere nobody would continue crs, and it
  // would never see the end.
  const bool is_job = terminal_->exists() && (is_stop_of_terminal(signal) || ::getpgrp() == ::getpid());
  if (!is_job || !(is_stop_of_terminal(signal) ? stopped() : stays_stopped())) return;
  terminal_stop_ = 0;
  terminal_->take_back();
  ::kill(::getpid(), SIGSTOP);
  // Continued. SIGCONT is blocked and still to be taken: it says the same as what follows.
  sigset_t continued;
  ::sigemptyset(&continued);
  ::sigaddset(&continued, SIGCONT);
  const timespec at_once{};
  ::sigtimedwait(&continued, nullptr, &at_once);
  terminal_->lend();
  if (!stopped()) return;
  // A group of its own has stopped as a whole, the program's children with it.
  if (terminal_->group() == 0 || ::kill(-terminal_->group(), SIGCONT) != 0)
    ::syscall(SYS_pidfd_send_signal, process_.get(), SIGCONT, nullptr, 0);
}

}  // namespace crs::cli
