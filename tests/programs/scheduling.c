// Scheduling policies that anybody may use, each on a thread of its own, with reset-on-fork.
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "subject.h"

struct plan {
  int policy;
  int nice;
  pthread_t thread;
};

static pthread_barrier_t barrier;

static void* scheduled_thread(void* argument) {
  const struct plan* plan = argument;
  const struct sched_param none = {0};
  SUBJECT_NEED(setpriority(PRIO_PROCESS, 0, plan->nice) == 0 && sched_setscheduler(0, plan->policy, &none) == 0);
  pthread_barrier_wait(&barrier);
  subject_wait_for_go();
  SUBJECT_CHECK(sched_getscheduler(0) == plan->policy, "policy %#x instead of %#x", sched_getscheduler(0),
                plan->policy);
  SUBJECT_CHECK(getpriority(PRIO_PROCESS, 0) == plan->nice, "nice %d instead of %d", getpriority(PRIO_PROCESS, 0),
                plan->nice);
  return NULL;
}

int main(void) {
  struct plan plans[] = {{SCHED_BATCH, 0, 0},
                         {SCHED_IDLE, 3, 0},
                         {SCHED_OTHER | SCHED_RESET_ON_FORK, 1, 0},
                         {SCHED_BATCH | SCHED_RESET_ON_FORK, 19, 0}};
  const int count = sizeof plans / sizeof plans[0];
  pthread_barrier_init(&barrier, NULL, (unsigned)count + 1);
  for (int i = 0; i < count; ++i)
    SUBJECT_NEED(pthread_create(&plans[i].thread, NULL, scheduled_thread, &plans[i]) == 0);
  pthread_barrier_wait(&barrier);
  subject_ready();
  for (int i = 0; i < count; ++i) pthread_join(plans[i].thread, NULL);
  subject_ok();
}
