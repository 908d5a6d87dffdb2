// subject: refused working directory of its own
#include <sched.h>

#include "second_thread.h"

static void* other_thread(void* barrier) {
  SUBJECT_NEED(unshare(CLONE_FS) == 0 && chdir("/proc") == 0);
  second_thread_is_set_up(barrier);
  return NULL;
}

int main(void) {
  const pthread_t thread = start_second_thread(other_thread);
  subject_ready();
  pthread_join(thread, NULL);
  subject_ok();
}
