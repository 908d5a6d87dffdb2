// A sleep for an amount of the process's own processor time, which a thread that computes uses up: it never ends early.
#include <pthread.h>

#include "subject.h"

static const struct timespec kLimit = {1, 0};

static void* sleep_for_processor_time(void* unused) {
  const double before = subject_seconds(CLOCK_PROCESS_CPUTIME_ID);
  SUBJECT_CHECK(clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &kLimit, NULL) == 0);
  const double slept = subject_seconds(CLOCK_PROCESS_CPUTIME_ID) - before;
  // A restarted process begins with another value of that clock, at which the limit begins anew.
  SUBJECT_CHECK(slept > 0.9, "%g s of processor time", slept);
  SUBJECT_CHECK(subject_may_go(), "the sleep ended before anything used processor time");
  return unused;
}

int main(void) {
  pthread_t sleeper;
  SUBJECT_NEED(pthread_create(&sleeper, NULL, sleep_for_processor_time, NULL) == 0);
  subject_announce();
  while (!subject_may_go()) subject_sleep_ms(5);
  const double begin = subject_seconds(CLOCK_PROCESS_CPUTIME_ID);
  while (subject_seconds(CLOCK_PROCESS_CPUTIME_ID) - begin < 1.3) {
  }
  pthread_join(sleeper, NULL);
  subject_ok();
}
