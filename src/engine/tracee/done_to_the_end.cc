#include "engine/tracee/done_to_the_end.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
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

std::pair<FileDescriptor, FileDescriptor> make_start_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno(errno, "cannot make a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// Made before anything is done, with room for any answer.
FileDescriptor make_answer_file() {
  FileDescriptor made(::memfd_create("crs-answer", MFD_CLOEXEC));
  if (!made) fail_errno(errno, "cannot make a file in memory");
  return made;
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

[[noreturn]] void fail_unintelligible() { fail(ErrorKind::Failed, "the answer of a process of crs is none"); }

Outcome outcome_of(std::string_view answer) {
  if (answer.empty()) fail_unintelligible();
  const std::string_view rest = answer.substr(1);
  if (answer.front() == kResultFollows) return {std::string(rest), std::nullopt};
  return {"", Error::decode(rest)};
}

void append_with_length(std::string& all, std::string_view one) {
  const std::size_t length = one.size();
  all.append(reinterpret_cast<const char*>(&length), sizeof length);
  all.append(one);
}

// Takes away what append_with_length() has put at the beginning of `all`.
std::string_view take_with_length(std::string_view& all) {
  std::size_t length = 0;
  if (all.size() < sizeof length) fail_unintelligible();
  std::memcpy(&length, all.data(), sizeof length);
  all.remove_prefix(sizeof length);
  if (all.size() < length) fail_unintelligible();
  const std::string_view one = all.substr(0, length);
  all.remove_prefix(length);
  return one;
}

// Makes this process the caller's tracer. The caller may have been killed before that and be past the place where it
// would stop: that it stops when it is told to shows that it has not. Throws.
void hold(pid_t caller) {
  constexpr long kOptions = PTRACE_O_TRACEEXIT;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the interface of ptrace(2)
  const bool is_traced = ::ptrace(PTRACE_SEIZE, caller, nullptr, reinterpret_cast<void*>(kOptions)) == 0 &&
                         ::ptrace(PTRACE_INTERRUPT, caller, nullptr, nullptr) == 0;
  if (!is_traced)
    throw Error(ErrorKind::Refused, fmt::format("a process of crs cannot trace crs: {}", std::strerror(errno)));
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

// A file in memory counts as one for RLIMIT_FSIZE, too (setrlimit(2)).
void raise_file_size_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

// 0, or the errno.
int give(int answer_file, const std::string& answer) {
  try {
    write_all(answer_file, "the answer of a process of crs", as_byte_span(answer));
    return 0;
  } catch (const Error& error) {
    return error.error_number() != 0 ? error.error_number() : EIO;
  }
}

// In the process apart, all other signals blocked. As soon as the caller is held, this waits for nobody: the answer
// goes into memory. Its end lets its tracee go on, or exit.
[[noreturn]] void run_apart(pid_t caller, int start, int answer_file, const std::function<std::string()>& action) {
  char byte = 0;
  ::setsid();
  if (::read(start, &byte, 1) != 1) ::_exit(1);
  const std::string answer = answer_of([&] {
    limit_waits();
    hold(caller);
    return action();
  });
  raise_file_size_limit();
  ::_exit(give(answer_file, answer));
}

// The answer is there when the process has ended, with 0 or an errno.
std::string await_answer(pid_t process, int answer_file) {
  constexpr const char* kWhat = "the answer of a process of crs";
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status)) fail(ErrorKind::Failed, "a process of crs has ended too early");
  if (WEXITSTATUS(status) != 0) fail_errno(WEXITSTATUS(status), "cannot keep {}", kWhat);
  if (::lseek(answer_file, 0, SEEK_SET) != 0) fail_errno(errno, "cannot read {}", kWhat);
  std::string answer = read_file(answer_file, kWhat);
  if (answer.empty()) fail(ErrorKind::Failed, "a process of crs has ended too early");
  return answer;
}

// In the caller: names that process as one that may trace it, where only named ones may (Yama: PR_SET_PTRACER of
// prctl(2)), and lets it begin.
void let_begin(pid_t process, int start) {
  ::prctl(PR_SET_PTRACER, process, 0, 0, 0);
  static_cast<void>(!::write(start, "", 1));
}

}  // namespace

std::string done_to_the_end(const std::function<std::string()>& action) {
  auto [start_read, start_write] = make_start_pipe();
  const FileDescriptor answer_file = make_answer_file();
  const auto caller = static_cast<pid_t>(::syscall(SYS_gettid));
  pid_t process = -1;
  {
    const SignalsBlocked blocked;
    process = ::fork();
    if (process == 0) {
      start_write.reset();
      run_apart(caller, start_read.get(), answer_file.get(), action);
    }
  }
  if (process < 0) fail_errno(errno, "cannot start a process");
  let_begin(process, start_write.get());
  const std::string answer = await_answer(process, answer_file.get());
  ::prctl(PR_SET_PTRACER, 0, 0, 0, 0);
  Outcome outcome = outcome_of(answer);
  if (outcome.problem) throw std::move(*outcome.problem);
  return std::move(outcome.result);
}

std::vector<Outcome> each_done_to_the_end(std::size_t count, const std::function<std::string(std::size_t)>& action) {
  const std::string all = done_to_the_end([&] {
    std::string answers;
    for (std::size_t i = 0; i < count; ++i) append_with_length(answers, answer_of([&] { return action(i); }));
    return answers;
  });
  std::vector<Outcome> outcomes;
  for (std::string_view rest = all; !rest.empty();) outcomes.push_back(outcome_of(take_with_length(rest)));
  if (outcomes.size() != count) fail_unintelligible();
  return outcomes;
}

}  // namespace crs::engine
