// Thread ids, as the kernel says them and as the C library cached them: error-checking and recursive mutexes,
// pthread_kill and pthread_getname_np work on them.
// subject: also-static
// subject: ids namespace
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

static void* run(void* argument) {
  number = (int)(intptr_t)argument;
  const pid_t id = subject_thread_id();
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_t checked;
  pthread_mutex_init(&checked, &attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_t recursive;
  pthread_mutex_init(&recursive, &attributes);
  pthread_mutex_lock(&checked);
  pthread_mutex_lock(&recursive);
  char name[16], name_now[16];
  snprintf(name, sizeof name, "worker %d", number);
  pthread_setname_np(pthread_self(), name);
  started++;
  while (!stop) subject_sleep_ms(1);
  SUBJECT_CHECK(subject_thread_id() == id, "thread id %d became %d", id, subject_thread_id());
  SUBJECT_CHECK(pthread_mutex_lock(&checked) == EDEADLK && pthread_mutex_unlock(&checked) == 0);
  SUBJECT_CHECK(pthread_mutex_lock(&recursive) == 0 && pthread_mutex_unlock(&recursive) == 0 &&
                pthread_mutex_unlock(&recursive) == 0);
  SUBJECT_CHECK(pthread_getname_np(pthread_self(), name_now, sizeof name_now) == 0 && strcmp(name, name_now) == 0,
                "name %s", name_now);
  SUBJECT_CHECK(raise(SIGUSR1) == 0);
  return NULL;
}

int main(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)(i + 1)) == 0);
  while (started < kThreads) subject_sleep_ms(1);
  subject_ready();
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_kill(threads[i], SIGUSR1) == 0);
  for (int i = 1; i <= kThreads; i++) {
    while (handled[i] == 0) subject_sleep_ms(1);
  }
  stop = 1;
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 1; i <= kThreads; i++) SUBJECT_CHECK(handled[i] == 2, "thread %d handled %d signals", i, handled[i]);
  subject_ok();
}
