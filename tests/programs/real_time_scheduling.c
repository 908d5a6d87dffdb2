// Real-time and deadline scheduling, and a nice value below zero.
// subject: root-only
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>

#include "subject.h"

struct attributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

static pthread_barrier_t barrier;

static struct attributes now(void) {
  struct attributes attributes = {0};
  SUBJECT_CHECK(syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0);
  return attributes;
}

static void* scheduled_thread(void* argument) {
  const struct attributes* wanted = argument;
  SUBJECT_NEED(syscall(SYS_sched_setattr, 0, wanted, 0) == 0);
  pthread_barrier_wait(&barrier);
  subject_wait_for_go();
  const struct attributes got = now();
  SUBJECT_CHECK(got.policy == wanted->policy && got.priority == wanted->priority && got.nice == wanted->nice,
                "policy %u priority %u nice %d", got.policy, got.priority, got.nice);
  SUBJECT_CHECK(wanted->policy != 6 ||
                (got.runtime == wanted->runtime && got.deadline == wanted->deadline && got.period == wanted->period));
  return NULL;
}

int main(void) {
  static struct attributes plans[] = {{sizeof plans[0], SCHED_FIFO, 0, 0, 3, 0, 0, 0},
                                      {sizeof plans[0], SCHED_RR, 0, 0, 7, 0, 0, 0},
                                      {sizeof plans[0], 6, 0, 0, 0, 1000000, 20000000, 30000000},
                                      {sizeof plans[0], SCHED_OTHER, 0, -5, 0, 0, 0, 0}};
  enum { kCount = sizeof plans / sizeof plans[0] };
  pthread_t threads[kCount];
  pthread_barrier_init(&barrier, NULL, kCount + 1);
  for (int i = 0; i < kCount; ++i) SUBJECT_NEED(pthread_create(&threads[i], NULL, scheduled_thread, &plans[i]) == 0);
  pthread_barrier_wait(&barrier);
  subject_ready();
  for (int i = 0; i < kCount; ++i) pthread_join(threads[i], NULL);
  subject_ok();
}
