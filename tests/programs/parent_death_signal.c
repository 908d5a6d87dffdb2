// The parent-death signals of threads. Only where the restarted program has a parent that stays: not detached in place.
// subject: rounds 0 1
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "subject.h"

static void check_signal(int wanted) {
  int signal = 0;
  SUBJECT_CHECK(prctl(PR_GET_PDEATHSIG, &signal) == 0 && signal == wanted, "the parent-death signal is %d", signal);
}

static void* other_thread(void* barrier) {
  SUBJECT_NEED(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0);
  pthread_barrier_wait(barrier);
  subject_wait_for_go();
  check_signal(SIGUSR2);
  return NULL;
}

int main(void) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);
  SUBJECT_NEED(prctl(PR_SET_PDEATHSIG, SIGHUP) == 0);
  subject_ready();
  check_signal(SIGHUP);
  pthread_join(thread, NULL);
  subject_ok();
}
