// Each thread's FS base (TLS) and GS base, and thread-local variables reached through them.
// subject: also-static
// subject: ids new
#include <asm/prctl.h>
#include <pthread.h>
#include <stdint.h>

#include "subject.h"

enum { kThreads = 4 };
static _Atomic int stop;
static __thread uint64_t local = 1;
static __thread char big[5000];

static unsigned long base_of(int which) {
  unsigned long base = 0;
  SUBJECT_CHECK(syscall(SYS_arch_prctl, which, &base) == 0);
  return base;
}

static void* run(void* argument) {
  const uint64_t number = (uint64_t)(intptr_t)argument;
  uint64_t area[4] = {0, number * 1000 + 7, 0, 0};
  SUBJECT_NEED(syscall(SYS_arch_prctl, ARCH_SET_GS, area) == 0);
  local = number + 100;
  memset(big, (int)number, sizeof big);
  const unsigned long fs = base_of(ARCH_GET_FS);
  while (!stop) subject_sleep_ms(1);
  SUBJECT_CHECK(base_of(ARCH_GET_FS) == fs);
  SUBJECT_CHECK(base_of(ARCH_GET_GS) == (unsigned long)area);
  uint64_t through_gs = 0;
  __asm__ volatile("movq %%gs:8, %0" : "=r"(through_gs));
  SUBJECT_CHECK(through_gs == number * 1000 + 7);
  SUBJECT_CHECK(local == number + 100 && big[0] == (char)number && big[4999] == (char)number);
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)(i + 1)) == 0);
  subject_ready();
  stop = 1;
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  SUBJECT_CHECK(local == 1);
  subject_ok();
}
