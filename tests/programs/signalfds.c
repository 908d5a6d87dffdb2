// signalfd(2): masks, also those of other instances, signals that are pending and not read yet, with what came with
// them.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "descriptors.h"

static sigset_t set_of(int first, int second) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, first);
  sigaddset(&set, second);
  return set;
}

static void check_silent(int file) {
  struct pollfd entry = {file, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0, "descriptor %d has a signal", file);
}

static struct signalfd_siginfo next(int file) {
  struct pollfd entry = {file, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 1, "descriptor %d has no signal", file);
  struct signalfd_siginfo info;
  SUBJECT_CHECK(read(file, &info, sizeof info) == sizeof info);
  return info;
}

int main(void) {
  sigset_t all;
  sigfillset(&all);
  SUBJECT_NEED(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
  const sigset_t user = set_of(SIGUSR1, SIGUSR2), real_time = set_of(SIGRTMIN + 3, SIGRTMAX),
                 first = set_of(SIGHUP, SIGWINCH), changed = set_of(SIGWINCH, SIGALRM), empty = {0};
  const int users = signalfd(-1, &user, SFD_NONBLOCK | SFD_CLOEXEC);
  const int real_times = signalfd(-1, &real_time, 0);
  const int altered = signalfd(-1, &first, SFD_NONBLOCK);
  SUBJECT_NEED(users >= 0 && real_times >= 0 && signalfd(altered, &changed, 0) == altered);
  const int nothing = signalfd(-1, &empty, SFD_NONBLOCK);
  const int duplicate = dup(users);
  SUBJECT_NEED(nothing >= 0 && kill(getpid(), SIGUSR2) == 0 && kill(getpid(), SIGHUP) == 0);
  for (int i = 1; i <= 3; i++)
    SUBJECT_NEED(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 100 + i}) == 0);
  SUBJECT_NEED(raise(SIGRTMAX) == 0);  // to this thread

  subject_ready();

  SUBJECT_CHECK(fcntl(users, F_GETFD) == FD_CLOEXEC && (fcntl(users, F_GETFL) & O_NONBLOCK) != 0 &&
                (fcntl(real_times, F_GETFL) & O_NONBLOCK) == 0);
  SUBJECT_CHECK(same_description(users, duplicate));
  struct signalfd_siginfo info = next(duplicate);
  SUBJECT_CHECK(info.ssi_signo == SIGUSR2 && info.ssi_code == SI_USER && info.ssi_pid == (unsigned)getpid(),
                "signal %u from %u", info.ssi_signo, info.ssi_pid);
  expect_error(read(users, &info, sizeof info), EAGAIN, "reading one more");
  info = next(real_times);  // a thread's own come first
  SUBJECT_CHECK(info.ssi_signo == (unsigned)SIGRTMAX, "signal %u", info.ssi_signo);
  for (int i = 1; i <= 3; i++) {
    info = next(real_times);
    SUBJECT_CHECK(info.ssi_signo == (unsigned)SIGRTMIN + 3 && info.ssi_int == 100 + i && info.ssi_code == SI_QUEUE,
                  "signal %u with %d", info.ssi_signo, info.ssi_int);
  }
  check_silent(real_times);
  check_silent(altered);  // SIGHUP is none of its signals any more
  SUBJECT_CHECK(kill(getpid(), SIGALRM) == 0 && next(altered).ssi_signo == SIGALRM);
  check_silent(nothing);
  subject_ok();
}
