#include "engine/machine/trial.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/no_process.h"

namespace crs::engine {
namespace {

// fork(2) of a child that is killed if its parent ends, at whatever moment that happens.
pid_t fork_bound() {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw no_process("cannot make a child process for a trial", errno);
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(0);
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail_errno(errno, "waiting for a trial's child process");
  }
  return status;
}

}  // namespace

int try_in_child(const std::function<int()>& action) {
  const pid_t child = fork_bound();
  if (child == 0) ::_exit(action());
  const int status = wait_for(child);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

std::string words_of_trial(int result) {
  if (result == 0) return "ok";
  if (result < 0) return fmt::format("ended by signal {}", -result);
  char words[128];
  return ::strerror_r(result, words, sizeof words);
}

WaitingChild::WaitingChild() : pid_(fork_bound()) {
  if (pid_ == 0) {
    while (true) ::pause();
  }
}

WaitingChild::~WaitingChild() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

int errno_of(long result) noexcept { return result < 0 ? errno : 0; }

}  // namespace crs::engine
