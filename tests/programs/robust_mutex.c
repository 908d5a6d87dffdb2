// The robust list: a thread that ends with a mutex after the restart leaves it to the next one with EOWNERDEAD. And the
// tid address: joining it works.
// subject: ids namespace new
#include <linux/futex.h>
#include <pthread.h>

#include "subject.h"

static pthread_mutex_t mutex;
static _Atomic int has_it, stop;

static void* hold(void* unused) {
  SUBJECT_NEED(pthread_mutex_lock(&mutex) == 0);
  has_it = 1;
  while (!stop) subject_sleep_ms(1);
  return unused;  // without unlocking
}

int main(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &attributes);
  void* head = NULL;
  size_t length = 0;
  SUBJECT_NEED(syscall(SYS_get_robust_list, 0, &head, &length) == 0);
  pthread_t holder;
  SUBJECT_NEED(pthread_create(&holder, NULL, hold, NULL) == 0);
  while (!has_it) subject_sleep_ms(1);
  subject_ready();
  void* head_now = NULL;
  SUBJECT_CHECK(syscall(SYS_get_robust_list, 0, &head_now, &length) == 0 && head_now == head);
  SUBJECT_CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
  stop = 1;
  SUBJECT_CHECK(pthread_join(holder, NULL) == 0);
  const int result = pthread_mutex_lock(&mutex);
  SUBJECT_CHECK(result == EOWNERDEAD, "pthread_mutex_lock returned %d", result);
  SUBJECT_CHECK(pthread_mutex_consistent(&mutex) == 0 && pthread_mutex_unlock(&mutex) == 0);
  subject_ok();
}
