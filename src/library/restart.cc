#include "library/restart.h"

#include <fcntl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "base/job_name.h"
#include "base/signals_blocked.h"
#include "service/helper.h"
#include "wire/messages.h"

namespace crs {
namespace {

const char* name_of(Ids ids) noexcept {
  switch (ids) {
    case Ids::Keep:
      return "keep";
    case Ids::Namespace:
      return "namespace";
    case Ids::New:
      return "new";
    case Ids::Automatic:
      break;
  }
  return "auto";
}

std::vector<std::string> command(const RestartRequest& request, const HelperOptions& helper, const std::string& way) {
  if (request.reference.starts_with('-'))  // which crs would take for an option
    fail(ErrorKind::Usage, "'{}' names no snapshot", request.reference);
  if (helper.program.empty()) {
    throw Error(ErrorKind::Failed, "there is no crs that could restart " + request.reference)
        .advise("The parameter crs_helper names the crs to use");
  }
  std::vector<std::string> arguments = helper.arguments;
  arguments.insert(arguments.end(), {"restart", way, "--ids", name_of(request.ids)});
  if (request.changed_files == ChangedFiles::Accept) arguments.insert(arguments.end(), {"--files", "accept"});
  if (!request.job.empty()) {
    check_chosen_job_name(request.job);
    arguments.insert(arguments.end(), {"--name", request.job});
  }
  arguments.push_back(request.reference);
  return arguments;
}

// What can be known here of whether this process can become another program. Once it has executed crs it is too late.
void check_caller(const std::string& reference) {
  const auto refuse = [&](const char* why, const char* advice) {
    throw Error(ErrorKind::Failed,
                fmt::format("process {} cannot become the program of {}: {}", ::getpid(), reference, why))
        .advise(advice);
  };
  if (::getpid() == 1) refuse("it is the first process of its namespace", "Restart it as a new process");
  siginfo_t child{};
  if (::waitid(P_ALL, 0, &child, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL) == 0 || errno != ECHILD)
    refuse("it has child processes", "Wait for them first (waitpid(2)), also for those that have ended");
}

// While it lives, every descriptor but the standard streams is closed by execve(2).
class ClosedOnExec {
 public:
  ClosedOnExec() : left_open_(inherited_descriptors()) {
    for (const int number : left_open_) ::fcntl(number, F_SETFD, FD_CLOEXEC);
  }
  ~ClosedOnExec() {
    for (const int number : left_open_) ::fcntl(number, F_SETFD, 0);
  }
  ClosedOnExec(const ClosedOnExec&) = delete;
  ClosedOnExec& operator=(const ClosedOnExec&) = delete;

 private:
  std::vector<int> left_open_;
};

// While it lives, the timers of setitimer(2) stand still. execve(2) would leave them running but reset the handlers, so
// that the next expiry ended the program.
class TimersStopped {
 public:
  TimersStopped() {
    const itimerval off{};
    for (std::size_t i = 0; i < kTimers.size(); ++i) ::setitimer(kTimers[i], &off, &before_[i]);
  }
  ~TimersStopped() {
    for (std::size_t i = 0; i < kTimers.size(); ++i) ::setitimer(kTimers[i], &before_[i], nullptr);
  }
  TimersStopped(const TimersStopped&) = delete;
  TimersStopped& operator=(const TimersStopped&) = delete;

 private:
  static constexpr std::array kTimers = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
  std::array<itimerval, kTimers.size()> before_{};
};

// What crs answers to one of its ways that start or check something.
wire::RestartDone ask(const std::vector<std::string>& arguments, const HelperOptions& helper,
                      const std::optional<RestartNews>& news, Streams streams) {
  wire::Connection connection =
      start_helper(helper.program, arguments, environment_now(news), {"restarts the snapshot", streams});
  const wire::Received received = connection.receive(std::chrono::steady_clock::now() + helper.restart_limit);
  if (received.kind == wire::Received::Kind::TimedOut) {
    connection.shut();  // so that it starts nothing later on
    const std::chrono::duration<double> limit = helper.restart_limit;
    throw Error(ErrorKind::Failed, fmt::format("{} has not answered within {} s", helper.program, limit.count()))
        .advise("The parameter crs_restart_limit sets the time limit");
  }
  if (received.kind != wire::Received::Kind::Arrived) {
    fail(ErrorKind::Failed, "{} ended without an answer", helper.program);
  }
  return wire::expect<wire::RestartDone>(received.message);
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

RestartedChild restart_as_child(const RestartRequest& request, const HelperOptions& helper,
                                const std::optional<RestartNews>& news) {
  const wire::RestartDone done = ask(command(request, helper, "--detach"), helper, news, Streams::Callers);
  return {done.pid, done.reference, done.component};
}

void check_replacement(const RestartRequest& request, const HelperOptions& helper,
                       const std::optional<RestartNews>& news) {
  check_caller(request.reference);
  std::vector<std::string> arguments = command(request, helper, "--replace");
  arguments.emplace_back("--check-only");
  static_cast<void>(ask(arguments, helper, news, Streams::Errors));
}

void become_restarted(const RestartRequest& request, const HelperOptions& helper,
                      const std::optional<RestartNews>& news) {
  std::vector<std::string> arguments = command(request, helper, "--replace");
  arguments.insert(arguments.begin(), helper.program);
  std::vector<std::string> environment = environment_now(news);
  const std::vector<char*> argument_pointers = pointers_to(arguments);
  const std::vector<char*> environment_pointers = pointers_to(environment);
  check_caller(request.reference);
  // Descriptors enough for crs, whatever the limit; it closes what it inherits all the same.
  const ClosedOnExec closed;
  // The handlers end with this process's program, so no signal may act on crs: it is to become what has a mask and
  // handlers of its own. crs keeps the mask that it inherits.
  const SignalsBlocked blocked;
  const TimersStopped stopped;
  // All other threads end with this call.
  ::execve(helper.program.c_str(), argument_pointers.data(), environment_pointers.data());
  fail_errno(errno, "cannot execute {} to become the program of {}", helper.program, request.reference);
}

}  // namespace crs
