// The parent-death signals of threads. Only where the restarted program has a parent that stays: not detached in place.
// subject: rounds 0 1
#include <signal.h>
#include <sys/prctl.h>

#include "second_thread.h"

static void check_signal(int wanted) {
  int signal = 0;
  SUBJECT_CHECK(prctl(PR_GET_PDEATHSIG, &signal) == 0 && signal == wanted, "the parent-death signal is %d", signal);
}

static void* other_thread(void* barrier) {
  SUBJECT_NEED(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0);
  second_thread_is_set_up(barrier);
  check_signal(SIGUSR2);
  return NULL;
}

int main(void) {
  const pthread_t thread = start_second_thread(other_thread);
  SUBJECT_NEED(prctl(PR_SET_PDEATHSIG, SIGHUP) == 0);
  subject_ready();
  check_signal(SIGHUP);
  pthread_join(thread, NULL);
  subject_ok();
}
