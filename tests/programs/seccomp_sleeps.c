// Threads in waits of limited length, which the kernel continues by restart_syscall(2) after a stop, under a filter
// that kills for that call: they make their call again instead. None is killed, sees EINTR or ends early.
// subject: root-only
// subject: keeps-running 0.2
// subject: rounds 0 1
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>

#include "seccomp.h"

enum { kSeconds = 2 };  // longer than a round of checkpoint and restart
static const struct timespec kLimit = {kSeconds, 0};

static void in_nanosleep(void) { SUBJECT_CHECK(syscall(SYS_nanosleep, &kLimit, NULL) == 0); }
static void in_told_nanosleep(void) {
  struct timespec rest = {0, 0};
  SUBJECT_CHECK(syscall(SYS_nanosleep, &kLimit, &rest) == 0);
}
static void in_clock_nanosleep(void) { SUBJECT_CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &kLimit, NULL) == 0); }
static void in_poll(void) { SUBJECT_CHECK(poll(NULL, 0, 1000 * kSeconds) == 0); }
static void in_futex(void) {
  int word = 0;
  SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &kLimit, NULL, 0) == -1 && errno == ETIMEDOUT);
}

static void (*const kCalls[])(void) = {in_nanosleep, in_told_nanosleep, in_clock_nanosleep, in_poll, in_futex};
enum { kCount = sizeof kCalls / sizeof *kCalls };
static _Atomic pid_t ids[kCount];

static void* run(void* argument) {
  const intptr_t number = (intptr_t)argument;
  SUBJECT_NEED(seccomp_put(seccomp_refuse(SYS_restart_syscall, SECCOMP_RET_KILL_PROCESS), 0) == 0);
  ids[number] = subject_thread_id();
  const double begin = subject_seconds(CLOCK_MONOTONIC);
  kCalls[number]();
  const double took = subject_seconds(CLOCK_MONOTONIC) - begin;
  SUBJECT_CHECK(took > kSeconds - 0.002, "wait %d ended early, after %f s", (int)number, took);
  return NULL;
}

int main(void) {
  pthread_t threads[kCount];
  for (intptr_t i = 0; i < kCount; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)i) == 0);
  for (int i = 0; i < kCount; i++) {
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
  }
  subject_ready();
  for (int i = 0; i < kCount; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  subject_ok();
}
