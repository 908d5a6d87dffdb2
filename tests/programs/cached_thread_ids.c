// With new ids, the C library's own copies of them are corrected: pthread_kill, pthread_getname_np, raise, and mutexes
// with an owner that are locked from then on (docs/limits.md says what becomes of those that are held meanwhile).
// subject: also-static
// subject: only-ids namespace new
// subject: rounds 1 3
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "subject.h"

enum { kThreads = 5 };
static _Atomic int stop, started;
static _Atomic int handled[kThreads + 1];
static __thread int number;

static void on_signal(int unused) {
  (void)unused;
  handled[number]++;
}

static void check_mutex(int type, int locked_twice) {
  pthread_mutexattr_t attributes;
  pthread_mutex_t mutex;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type);
  pthread_mutex_init(&mutex, &attributes);
  SUBJECT_CHECK(pthread_mutex_lock(&mutex) == 0 && pthread_mutex_lock(&mutex) == locked_twice);
  if (locked_twice == 0) SUBJECT_CHECK(pthread_mutex_unlock(&mutex) == 0);
  SUBJECT_CHECK(pthread_mutex_unlock(&mutex) == 0 && pthread_mutex_destroy(&mutex) == 0);
}

static void* run(void* argument) {
  number = (int)(intptr_t)argument;
  char name[16], name_now[16];
  snprintf(name, sizeof name, "worker %d", number);
  pthread_setname_np(pthread_self(), name);
  started++;
  while (!stop) subject_sleep_ms(1);
  SUBJECT_CHECK(gettid() == subject_thread_id());
  SUBJECT_CHECK(pthread_getname_np(pthread_self(), name_now, sizeof name_now) == 0 && strcmp(name, name_now) == 0,
                "name %s", name_now);
  check_mutex(PTHREAD_MUTEX_ERRORCHECK, EDEADLK);
  check_mutex(PTHREAD_MUTEX_RECURSIVE, 0);
  SUBJECT_CHECK(raise(SIGUSR1) == 0);
  return NULL;
}

int main(void) {
  const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)(i + 1)) == 0);
  while (started < kThreads) subject_sleep_ms(1);
  subject_ready();
  char name[16];
  SUBJECT_CHECK(pthread_getname_np(threads[2], name, sizeof name) == 0 && strcmp(name, "worker 3") == 0, "name %s",
                name);
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_kill(threads[i], SIGUSR1) == 0);
  for (int i = 1; i <= kThreads; i++) {
    while (handled[i] == 0) subject_sleep_ms(1);
  }
  stop = 1;
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 1; i <= kThreads; i++) SUBJECT_CHECK(handled[i] == 2, "thread %d handled %d signals", i, handled[i]);
  subject_ok();
}
