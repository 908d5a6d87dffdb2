#include "engine/tracee/done_to_the_end.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "base/signals_blocked.h"

namespace crs::engine {
namespace {

// The first byte of an answer: what the rest of it is.
constexpr char kResultFollows = 'r';
constexpr char kProblemFollows = 'p';
constexpr int kAnswerRoom = 1 << 18;

std::pair<FileDescriptor, FileDescriptor> make_answer_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno(errno, "cannot make a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

std::string answer_of(const std::function<std::string()>& action) {
  try {
    return kResultFollows + action();
  } catch (const Error& error) {
    return kProblemFollows + error.encode();
  } catch (const std::exception& problem) {
    return kProblemFollows + Error(ErrorKind::Failed, problem.what()).encode();
  }
}

// Makes this process the caller's tracer. The caller may have been killed before that and be past the place where it
// would stop: that it stops when it is told to shows that it has not. Throws.
void hold(pid_t caller) {
  constexpr long kOptions = PTRACE_O_TRACEEXIT;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the interface of ptrace(2)
  const bool is_traced = ::ptrace(PTRACE_SEIZE, caller, nullptr, reinterpret_cast<void*>(kOptions)) == 0 &&
                         ::ptrace(PTRACE_INTERRUPT, caller, nullptr, nullptr) == 0;
  if (!is_traced) fail_errno(errno, "a process of crs cannot trace crs");
  int status = 0;
  while (::waitpid(caller, &status, __WALL) == caller && WIFSTOPPED(status)) {
    const int event = status >> 16;
    if (event == PTRACE_EVENT_EXIT) break;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the interface of ptrace(2)
    void* const signal = reinterpret_cast<void*>(event == 0 ? static_cast<long>(WSTOPSIG(status)) : 0);
    const bool is_job_stop = event == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP;
    if (::ptrace(is_job_stop ? PTRACE_LISTEN : PTRACE_CONT, caller, nullptr, signal) == 0 && event == PTRACE_EVENT_STOP)
      return;
  }
  fail(ErrorKind::Failed, "crs has been killed");
}

// Nothing is waited for very long: then calls end with EINTR.
void limit_waits() {
  constexpr itimerval kLimit{.it_interval = {.tv_sec = 1, .tv_usec = 0}, .it_value = {.tv_sec = 10, .tv_usec = 0}};
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigset_t alarm;
  ::sigemptyset(&alarm);
  ::sigaddset(&alarm, SIGALRM);
  ::sigaction(SIGALRM, &action, nullptr);
  ::setitimer(ITIMER_REAL, &kLimit, nullptr);
  ::sigprocmask(SIG_UNBLOCK, &alarm, nullptr);
}

// In the process apart, all other signals blocked. As soon as the caller is held, this waits for nobody: the pipe has
// room for the answer, or nobody gets one. Its end lets its tracee go on, or exit.
[[noreturn]] void run_apart(pid_t caller, int start, int answer_end, const std::function<std::string()>& action) {
  char byte = 0;
  ::setsid();
  if (::read(start, &byte, 1) != 1) ::_exit(1);
  const std::string answer = answer_of([&] {
    limit_waits();
    hold(caller);
    return action();
  });
  const ssize_t written = ::write(answer_end, answer.data(), answer.size());
  ::_exit(written == static_cast<ssize_t>(answer.size()) ? 0 : 1);
}

// In the caller: names that process as one that may trace it, where only named ones may (Yama: PR_SET_PTRACER of
// prctl(2)), and lets it begin.
void let_begin(pid_t process, int start) {
  ::prctl(PR_SET_PTRACER, process, 0, 0, 0);
  static_cast<void>(!::write(start, "", 1));
}

}  // namespace

std::string done_to_the_end(const std::function<std::string()>& action) {
  auto [start_read, start_write] = make_answer_pipe();
  auto [answer_read, answer_write] = make_answer_pipe();
  const bool has_room = ::fcntl(answer_write.get(), F_SETPIPE_SZ, kAnswerRoom) >= 0 &&
                        ::fcntl(answer_write.get(), F_SETFL, O_NONBLOCK) == 0;
  if (!has_room) fail_errno(errno, "cannot make a pipe of {} bytes", kAnswerRoom);
  const auto caller = static_cast<pid_t>(::syscall(SYS_gettid));
  pid_t process = -1;
  {
    const SignalsBlocked blocked;
    process = ::fork();
    if (process == 0) {
      start_write.reset();
      run_apart(caller, start_read.get(), answer_write.get(), action);
    }
  }
  if (process < 0) fail_errno(errno, "cannot start a process");
  answer_write.reset();
  let_begin(process, start_write.get());
  const std::string answer = read_file(answer_read.get(), "the answer of a process of crs");
  while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
  }
  ::prctl(PR_SET_PTRACER, 0, 0, 0, 0);
  if (answer.empty()) fail(ErrorKind::Failed, "a process of crs has ended too early");
  if (answer.front() != kResultFollows) throw Error::decode(std::string_view(answer).substr(1));
  return answer.substr(1);
}

}  // namespace crs::engine
