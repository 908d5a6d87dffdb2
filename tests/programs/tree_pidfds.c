// pidfds of members of the tree: of children, of the parent, of a zombie, of one that has been waited for; watched by
// epoll, and one that a child has inherited. A duplicate stays one.
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "subject.h"

static int open_pidfd(pid_t pid) {
  const int opened = (int)syscall(SYS_pidfd_open, pid, 0);
  SUBJECT_NEED(opened >= 0);
  return opened;
}

static int has_ended(int pidfd) {
  struct pollfd ready = {pidfd, POLLIN, 0};
  return poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0;
}

static void usr1(int unused) { (void)unused; }

// Sends the parent SIGUSR1 when it gets it itself, and waits until the other child, of which it has a pidfd, has ended.
static void live(int parent, int sibling, int barrier) {
  sigset_t set;
  int signal = 0;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  if (write(barrier, "r", 1) != 1) _exit(2);
  if (sigwait(&set, &signal) != 0 || has_ended(sibling)) _exit(3);
  if (syscall(SYS_pidfd_send_signal, parent, SIGUSR1, NULL, 0) != 0) _exit(4);
  struct pollfd ready = {sibling, POLLIN, 0};
  _exit(poll(&ready, 1, -1) == 1 ? 7 : 5);
}

int main(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  SUBJECT_NEED(signal(SIGUSR1, usr1) != SIG_ERR && sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  int barrier[2];
  SUBJECT_NEED(pipe(barrier) == 0);

  const pid_t zombie = fork();
  if (zombie == 0) _exit(11);
  const int of_zombie = open_pidfd(zombie);
  const pid_t waited = fork();
  if (waited == 0) _exit(0);
  const int of_waited = open_pidfd(waited);
  SUBJECT_NEED(waitpid(waited, NULL, 0) == waited);
  const pid_t sleeper = fork();
  if (sleeper == 0) {
    for (;;) pause();
  }
  const int of_sleeper = open_pidfd(sleeper);
  const int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 42};
  SUBJECT_NEED(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, of_sleeper, &event) == 0);
  const int of_parent = open_pidfd(getpid());
  const int of_parent_too = dup(of_parent);
  const pid_t child = fork();
  if (child == 0) live(of_parent, of_sleeper, barrier[1]);
  const int of_child = open_pidfd(child);
  char byte = 0;
  SUBJECT_NEED(read(barrier[0], &byte, 1) == 1);
  while (!has_ended(of_zombie)) subject_sleep_ms(1);

  subject_ready();

  SUBJECT_CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, of_parent, of_parent_too) == 0, "a duplicate is apart now");
  siginfo_t info;
  SUBJECT_CHECK(has_ended(of_waited) && syscall(SYS_pidfd_send_signal, of_waited, 0, NULL, 0) != 0 && errno == ESRCH);
  SUBJECT_CHECK(has_ended(of_zombie));
  SUBJECT_CHECK(waitid(P_PIDFD, (id_t)of_zombie, &info, WEXITED) == 0 && info.si_pid == zombie && info.si_status == 11);
  SUBJECT_CHECK(!has_ended(of_sleeper) && !has_ended(of_child) && !has_ended(of_parent));
  SUBJECT_CHECK(epoll_wait(epoll, &event, 1, 0) == 0);

  SUBJECT_CHECK(syscall(SYS_pidfd_send_signal, of_child, SIGUSR1, NULL, 0) == 0);
  int signal = 0;
  SUBJECT_CHECK(sigwait(&set, &signal) == 0 && signal == SIGUSR1);
  SUBJECT_CHECK(syscall(SYS_pidfd_send_signal, of_sleeper, SIGKILL, NULL, 0) == 0);
  SUBJECT_CHECK(epoll_wait(epoll, &event, 1, 5000) == 1 && event.data.u32 == 42);
  SUBJECT_CHECK(waitid(P_PIDFD, (id_t)of_sleeper, &info, WEXITED) == 0 && info.si_pid == sleeper);
  SUBJECT_CHECK(waitid(P_PIDFD, (id_t)of_child, &info, WEXITED) == 0 && info.si_pid == child && info.si_status == 7,
                "%d %d", (int)info.si_pid, info.si_status);
  subject_ok();
}
