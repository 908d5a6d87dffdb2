// A terminal whose foreground group has no members any more: no restart can bring that group back.
// subject: rounds 0 1
// subject: checkpoint-says has no process in the snapshot: at a restart the group of the session's leader
// subject: lock terminals
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "sockets.h"

static pid_t gone;

static void put_nobody_in_foreground(int terminal) {
  int ready[2];
  SUBJECT_NEED(pipe(ready) == 0);
  gone = fork();
  if (gone == 0) {
    char byte;
    setpgid(0, 0);
    close(ready[1]);
    _exit((int)read(ready[0], &byte, 1));
  }
  setpgid(gone, gone);
  SUBJECT_NEED(gone > 0 && tcsetpgrp(terminal, gone) == 0);
  close(ready[1]);
  close(ready[0]);
  SUBJECT_NEED(waitpid(gone, NULL, 0) == gone && tcgetpgrp(terminal) == gone);
}

int main(void) {
  int master, terminal, told[2], go[2];
  signal(SIGTTOU, SIG_IGN);
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0 && pipe(told) == 0 && pipe(go) == 0);
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) {
    if (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0) _exit(2);
    put_nobody_in_foreground(terminal);
    char byte = 'x';
    if (write(told[1], &byte, 1) != 1) _exit(3);
    if (read(go[0], &byte, 1) != 1) _exit(4);  // all checkpoints and restarts happen in here
    const int is_restarted = atoi(subject_environment("SUBJECT_ROUNDS")) != 0;
    const pid_t wanted = is_restarted ? getpid() : gone;
    SUBJECT_CHECK(tcgetpgrp(terminal) == wanted, "%d instead of %d", (int)tcgetpgrp(terminal), (int)wanted);
    _exit(0);
  }
  char byte;
  SUBJECT_NEED(read(told[0], &byte, 1) == 1);
  subject_ready();
  SUBJECT_CHECK(write(go[1], "x", 1) == 1);
  int status = -1;
  SUBJECT_CHECK(waitpid(pid, &status, 0) == pid && status == 0, "%#x", (unsigned)status);
  subject_ok();
}
