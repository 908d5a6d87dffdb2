// A terminal that nobody may open once more (TIOCEXCL of ioctl_tty(2)), which controls the session of a child; and a
// master with that setting.
// subject: lock terminals
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "sockets.h"

static void expect_exclusive(int end, int wanted, const char* what) {
  int exclusive = -1;
  SUBJECT_CHECK(ioctl(end, TIOCGEXCL, &exclusive) == 0 && exclusive == wanted, "%s: %d", what, exclusive);
}

static void in_foreground(int terminal) {
  char line[16] = "";
  if (read(terminal, line, sizeof line) != 3) _exit(2);  // all checkpoints and restarts happen in here
  SUBJECT_CHECK(tcgetpgrp(terminal) == getpgrp(), "group %d is in the foreground", (int)tcgetpgrp(terminal));
  _exit(0);
}

static void lead_session(int terminal) {
  signal(SIGTTOU, SIG_IGN);
  if (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0) _exit(3);
  const pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    if (tcsetpgrp(terminal, getpid()) != 0 || ioctl(terminal, TIOCEXCL) != 0) _exit(4);
    in_foreground(terminal);
  }
  int status = -1;
  _exit(waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : 5);
}

int main(void) {
  int master, terminal, other, end, exclusive = 0;
  char name[64];
  SUBJECT_NEED(openpty(&master, &terminal, name, NULL, NULL) == 0 && openpty(&other, &end, NULL, NULL, NULL) == 0);
  SUBJECT_NEED(ioctl(other, TIOCEXCL) == 0);
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) lead_session(terminal);
  for (int i = 0; i < 5000 && !exclusive; ++i, subject_sleep_ms(1)) ioctl(terminal, TIOCGEXCL, &exclusive);
  SUBJECT_NEED(exclusive == 1);
  subject_ready();
  expect_exclusive(terminal, 1, "the terminal");
  expect_exclusive(master, 0, "its master");
  expect_exclusive(end, 0, "the other terminal");
  expect_exclusive(other, 1, "its master");
  SUBJECT_CHECK(ptsname_r(master, name, sizeof name) == 0);
  if (geteuid() != 0) expect_error(open(name, O_RDWR | O_NOCTTY), EBUSY, "opening the terminal");
  SUBJECT_CHECK(write(master, "go\n", 3) == 3);
  int status = -1;
  SUBJECT_CHECK(waitpid(pid, &status, 0) == pid && status == 0, "%#x", (unsigned)status);
  subject_ok();
}
