#include "engine/newborn/init.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/tracee/wait_status.h"

namespace crs::engine {
namespace {

// The init keeps nothing of the restart command's open: a pipe must close when the program closes it.
void close_all_but(int descriptor) {
  if (descriptor > 0) ::close_range(0, static_cast<unsigned>(descriptor) - 1, 0);
  ::close_range(static_cast<unsigned>(descriptor) + 1, ~0U, 0);
}

// Reaps everyone; returns when `program` has ended.
void reap_until_end_of(pid_t program) {
  int raw = 0;
  for (pid_t gone = ::waitpid(-1, &raw, WNOHANG); gone > 0; gone = ::waitpid(-1, &raw, WNOHANG)) {
    if (gone == program) ::_exit(WaitStatus(raw).exit_status());
  }
}

}  // namespace

void run_init(pid_t program, Channel& channel) {
  ::prctl(PR_SET_NAME, kInitName);
  close_all_but(channel.descriptor());
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
    reap_until_end_of(program);
    siginfo_t signal{};
    if (::sigwaitinfo(&all, &signal) <= 0 || signal.si_signo == SIGCHLD) continue;
    // What the terminal sends goes to the whole foreground group, the program included.
    if (signal.si_code != SI_KERNEL) ::kill(program, signal.si_signo);
  }
}

}  // namespace crs::engine
