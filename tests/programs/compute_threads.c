// Threads that never stop computing: an integer chain and a floating-point sum, each checked against its closed form at
// the end.
// subject: also-static
// subject: keeps-running 0.1
// subject: never-rests
// subject: ids namespace new
#include <pthread.h>
#include <stdint.h>

#include "subject.h"

enum { kThreads = 4 };
static const uint64_t kMultiplier = 6364136223846793005u, kIncrement = 1442695040888963407u;
static _Atomic int stop, started;

struct Worker {
  pthread_t thread;
  uint64_t seed, steps, state;
  double sum;
};

static void* work(void* argument) {
  struct Worker* worker = argument;
  uint64_t state = worker->seed, steps = 0;
  double sum = 0;
  started++;
  do {
    for (int i = 0; i < 1000; i++) {
      state = state * kMultiplier + kIncrement;
      sum += 0.5;
      steps++;
    }
  } while (!stop);
  worker->state = state;
  worker->steps = steps;
  worker->sum = sum;
  return NULL;
}

// The state after `steps` steps, by repeated squaring of x -> a x + c.
static uint64_t expected_state(uint64_t state, uint64_t steps) {
  uint64_t a = kMultiplier, c = kIncrement;
  for (; steps != 0; steps >>= 1) {
    if (steps & 1) state = state * a + c;
    c = (a + 1) * c;
    a *= a;
  }
  return state;
}

int main(void) {
  static struct Worker workers[kThreads];
  for (int i = 0; i < kThreads; i++) {
    workers[i].seed = 1000u + (uint64_t)i;
    SUBJECT_NEED(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
  }
  while (started < kThreads) subject_sleep_ms(1);
  subject_ready();
  stop = 1;
  for (int i = 0; i < kThreads; i++) {
    struct Worker* worker = &workers[i];
    SUBJECT_CHECK(pthread_join(worker->thread, NULL) == 0);
    SUBJECT_CHECK(worker->steps > 0);
    SUBJECT_CHECK(worker->state == expected_state(worker->seed, worker->steps), "thread %d computed wrongly", i);
    SUBJECT_CHECK(worker->sum == (double)worker->steps * 0.5, "thread %d: %f after %lu steps", i, worker->sum,
                  (unsigned long)worker->steps);
  }
  subject_ok();
}
