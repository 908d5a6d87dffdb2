// A second thread that sets up something of its own before the program is ready.
#pragma once

#include <pthread.h>

#include "subject.h"

// `run(barrier)` sets up, calls second_thread_is_set_up(barrier), and checks. Returns when it has set up.
static inline pthread_t start_second_thread(void* (*run)(void*)) {
  static pthread_barrier_t barrier;
  pthread_t thread;
  SUBJECT_NEED(pthread_barrier_init(&barrier, NULL, 2) == 0 && pthread_create(&thread, NULL, run, &barrier) == 0);
  pthread_barrier_wait(&barrier);
  return thread;
}

// Returns when there is something to be checked.
static inline void second_thread_is_set_up(void* barrier) {
  pthread_barrier_wait(barrier);
  subject_wait_for_go();
}
