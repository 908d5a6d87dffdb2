#include "engine/newborn/init.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "base/error.h"
#include "engine/tracee/wait_status.h"

namespace crs::engine {
namespace {

// The init keeps nothing of the restart command's open: a pipe must close when the program closes it.
void close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  unsigned first = 0;
  for (const int descriptor : kept) {
    const auto number = static_cast<unsigned>(descriptor);
    if (number > first) ::close_range(first, number - 1, 0);
    first = number + 1;
  }
  ::close_range(first, ~0U, 0);
}

// Reaps everyone, and ends with the program; reports its stops.
void look_at_children(pid_t program, const StopReport& stops) {
  int raw = 0;
  for (pid_t child = ::waitpid(-1, &raw, WNOHANG | WUNTRACED); child > 0;
       child = ::waitpid(-1, &raw, WNOHANG | WUNTRACED)) {
    if (child != program) continue;
    if (!WIFSTOPPED(raw)) ::_exit(WaitStatus(raw).exit_status());
    stops.send();
  }
}

}  // namespace

StopReport::StopReport() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) fail_errno(errno, "making a pipe");
  read_end_ = FileDescriptor(ends[0]);
  write_end_ = FileDescriptor(ends[1]);
  if (::fcntl(ends[0], F_SETOWN, ::getpid()) != 0 || ::fcntl(ends[0], F_SETSIG, SIGCHLD) != 0 ||
      ::fcntl(ends[0], F_SETFL, O_NONBLOCK | O_ASYNC) != 0)
    fail_errno(errno, "making a pipe that sends a signal");
}

void StopReport::close() noexcept {
  read_end_.reset();
  write_end_.reset();
}

void StopReport::send() const noexcept {
  // Taken out again at once: what counts is that it arrived.
  char report = 0;
  if (::write(write_end(), &report, 1) == 1) static_cast<void>(!::read(read_end(), &report, 1));
}

void run_init(pid_t program, Channel& channel, const StopReport& stops) {
  ::prctl(PR_SET_NAME, kInitName);
  ::setpgid(0, 0);
  close_all_but({channel.descriptor(), stops.read_end(), stops.write_end()});
  try {
    channel.receive(3600);
  } catch (const std::exception&) {
    ::_exit(1);  // the restart command gave up; the kernel ends everything in the namespace with its init
  }
  ::prctl(PR_SET_PDEATHSIG, 0);
  try {
    channel.send(kInitReady);
  } catch (const std::exception&) {  // the restart command is gone, but it had let the program go: stay with that
  }
  channel.close();

  sigset_t all;
  ::sigfillset(&all);
  while (true) {
    look_at_children(program, stops);
    siginfo_t signal{};
    if (::sigwaitinfo(&all, &signal) <= 0 || signal.si_signo == SIGCHLD) continue;
    // The kernel's own are not meant for the program.
    if (signal.si_code != SI_KERNEL) ::kill(program, signal.si_signo);
  }
}

}  // namespace crs::engine
