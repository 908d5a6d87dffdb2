// The C library's rseq registration of each thread: the kernel goes on telling the processor number through it.
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/rseq.h>

#include "subject.h"

enum { kThreads = 3 };
static _Atomic int stop;

static volatile struct rseq* own_rseq(void) {
  return (volatile struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
}

// Moves to every processor in turn; the kernel must say so in the registered area.
static void check_rseq(const char* when) {
  cpu_set_t allowed;
  SUBJECT_CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    SUBJECT_CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    SUBJECT_CHECK(own_rseq()->cpu_id == (uint32_t)cpu, "%s: processor %d, rseq says %u", when, cpu, own_rseq()->cpu_id);
    SUBJECT_CHECK(sched_getcpu() == cpu);
  }
  SUBJECT_CHECK(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

static void* run(void* unused) {
  check_rseq("before");
  while (!stop) subject_sleep_ms(1);
  check_rseq("after");
  return unused;
}

int main(void) {
  if (__rseq_size == 0) subject_skip("the C library registered no rseq");
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, NULL) == 0);
  check_rseq("before");
  subject_ready();
  stop = 1;
  check_rseq("after");
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  subject_ok();
}
