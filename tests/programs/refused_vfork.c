// A parent that waits in vfork(2) for a child that takes its time: it cannot be stopped.
// subject: refused a child of vfork
// subject: root-only
#include <sched.h>
#include <sys/wait.h>

#include "subject.h"

int main(void) {
  // The child works on the memory of its parent until it ends.
  const pid_t child = vfork();
  if (child == 0) {
    subject_ready();
    _exit(3);
  }
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
  subject_ok();
}
