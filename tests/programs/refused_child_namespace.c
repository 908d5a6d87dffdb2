// A process whose children will be in another process id namespace: the look must not give them an init that ends, for
// then there could never be any.
// subject: refused process id (for children) namespace
// subject: root-only
#include <sched.h>
#include <sys/wait.h>

#include "subject.h"

int main(void) {
  SUBJECT_NEED(unshare(CLONE_NEWPID) == 0);
  subject_ready();
  const pid_t child = fork();
  if (child == 0) _exit(getpid() == 1 ? 7 : 8);
  int status = 0;
  SUBJECT_CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  subject_ok();
}
