// Threads that begin and end all the time, as a pool's do: whenever the program is looked at, one has just gone.
// subject: keeps-running 0.1
// subject: never-rests
// subject: rounds 10
#include <pthread.h>

#include "subject.h"

enum { kThreads = 16 };
static _Atomic int stop;
static _Atomic long ran;
static long begun;

static void* count(void* argument) {
  (void)argument;
  for (volatile int i = 0; i < 20000; i++) continue;
  ran++;
  return NULL;
}

static void* begin_and_end(void* argument) {
  (void)argument;
  while (!stop) {
    pthread_t threads[kThreads];
    for (int i = 0; i < kThreads; i++) {
      SUBJECT_CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
      begun++;
    }
    for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  }
  return NULL;
}

int main(void) {
  pthread_t maker;
  SUBJECT_NEED(pthread_create(&maker, NULL, begin_and_end, NULL) == 0);
  while (ran < kThreads) subject_sleep_ms(1);
  subject_ready();
  stop = 1;
  SUBJECT_CHECK(pthread_join(maker, NULL) == 0);
  SUBJECT_CHECK(ran == begun, "%ld of %ld threads ran", (long)ran, begun);
  subject_ok();
}
