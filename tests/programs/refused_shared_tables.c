// A child that shares its parent's memory (clone(2) with CLONE_VM, without CLONE_THREAD).
// subject: refused CLONE_VM
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "subject.h"

static int wait_for_end(void* unused) {
  (void)unused;
  for (;;) pause();
  return 0;
}

int main(void) {
  enum { kStack = 65536 };
  char* const stack = malloc(kStack);
  const pid_t child = clone(wait_for_end, stack + kStack, CLONE_VM | SIGCHLD, NULL);
  SUBJECT_NEED(child > 0);

  subject_ready();

  SUBJECT_CHECK(waitpid(child, NULL, WNOHANG) == 0, "the child ended");
  kill(child, SIGKILL);
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child);
  subject_ok();
}
