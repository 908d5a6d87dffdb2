// subject: refused descriptor table of its own
#include <sched.h>

#include "second_thread.h"

static void* other_thread(void* barrier) {
  SUBJECT_NEED(unshare(CLONE_FILES) == 0 && dup2(STDOUT_FILENO, 77) == 77);
  second_thread_is_set_up(barrier);
  SUBJECT_CHECK(fcntl(77, F_GETFD) == 0);
  return NULL;
}

int main(void) {
  const pthread_t thread = start_second_thread(other_thread);
  subject_ready();
  pthread_join(thread, NULL);
  subject_ok();
}
