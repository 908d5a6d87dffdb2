// A child that has its parent's descriptor table and working directory (clone(2) with CLONE_FILES and CLONE_FS).
// subject: refused CLONE_FILES
#include <linux/sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "subject.h"

int main(void) {
  struct clone_args how = {.flags = CLONE_FILES | CLONE_FS, .exit_signal = SIGCHLD};
  const pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof how);
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    for (;;) pause();
  }
  subject_ready();
  SUBJECT_CHECK(waitpid(child, NULL, WNOHANG) == 0, "the child ended");
  kill(child, SIGKILL);
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child);
  subject_ok();
}
