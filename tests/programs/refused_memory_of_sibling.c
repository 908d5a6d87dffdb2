// Two children that have one memory (clone(2) with CLONE_VM and CLONE_PARENT) in which their parent has no part: nobody
// could make the second one again.
// subject: refused births
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

static int wait_for_end(void* unused) {
  (void)unused;
  for (;;) pause();
  return 0;
}

int main(void) {
  enum { kStack = 65536 };
  pid_t* const sibling = mmap(NULL, sizeof *sibling, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(sibling != MAP_FAILED);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    char* const stack = malloc(kStack);
    __atomic_store_n(sibling, clone(wait_for_end, stack + kStack, CLONE_VM | CLONE_PARENT | SIGCHLD, NULL),
                     __ATOMIC_RELEASE);
    wait_for_end(NULL);
  }
  while (__atomic_load_n(sibling, __ATOMIC_ACQUIRE) == 0) subject_sleep_ms(1);
  SUBJECT_NEED(*sibling > 0);

  subject_ready();

  kill(child, SIGKILL);
  kill(*sibling, SIGKILL);
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child && waitpid(*sibling, NULL, 0) == *sibling);
  subject_ok();
}
