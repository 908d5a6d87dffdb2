// One thread keeps its capabilities when it changes its user (PR_SET_KEEPCAPS), the main thread does not.
#include <sys/prctl.h>

#include "second_thread.h"

static void* other_thread(void* barrier) {
  SUBJECT_NEED(prctl(PR_SET_KEEPCAPS, 1) == 0);
  second_thread_is_set_up(barrier);
  SUBJECT_CHECK(prctl(PR_GET_KEEPCAPS) == 1);
  return NULL;
}

int main(void) {
  const pthread_t thread = start_second_thread(other_thread);
  subject_ready();
  SUBJECT_CHECK(prctl(PR_GET_KEEPCAPS) == 0);
  pthread_join(thread, NULL);
  subject_ok();
}
