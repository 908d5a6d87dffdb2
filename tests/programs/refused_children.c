// A program with children that is to be taken alone: the message says so, and names them.
// subject: checkpoint-options --single
// subject: refused child
#include <signal.h>
#include <sys/wait.h>

#include "subject.h"

int main(void) {
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    pause();
    _exit(9);
  }
  subject_ready();
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, WNOHANG) == 0, "the child ended");
  kill(child, SIGTERM);
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  subject_ok();
}
