// Robust mutexes that processes share through a file with a name: who holds one when the program ends with its
// checkpoint holds it after the restart, and who waits goes on waiting. One whose owner had ended before says so.
// subject: checkpoint-options --kill
// subject: rounds 1 3
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

struct shared {
  pthread_mutex_t held, inherits_priority, left;
  _Atomic int waits, got[2];
};

static void make(pthread_mutex_t* mutex, int protocol) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setprotocol(&attributes, protocol);
  SUBJECT_NEED(pthread_mutex_init(mutex, &attributes) == 0);
}

static pid_t wait_for(pthread_mutex_t* mutex, struct shared* shared, int number) {
  const pid_t waiter = fork();
  SUBJECT_NEED(waiter >= 0);
  if (waiter > 0) return waiter;
  ++shared->waits;
  const int result = pthread_mutex_lock(mutex);
  shared->got[number] = 1000 + result;
  pthread_mutex_unlock(mutex);
  _exit(0);
}

static void let_in(pthread_mutex_t* mutex, const struct shared* shared, int number, pid_t waiter) {
  SUBJECT_CHECK(shared->got[number] == 0, "a waiter got in: %d", shared->got[number]);
  SUBJECT_CHECK(pthread_mutex_unlock(mutex) == 0);
  int status = 0;
  SUBJECT_CHECK(waitpid(waiter, &status, 0) == waiter && status == 0);
  SUBJECT_CHECK(shared->got[number] == 1000, "the waiter's lock returned %d", shared->got[number] - 1000);
}

int main(void) {
  char path[] = "mutexes-XXXXXX";
  const int file = mkstemp(path);
  SUBJECT_NEED(file >= 0 && ftruncate(file, sizeof(struct shared)) == 0);
  struct shared* const shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  SUBJECT_NEED(shared != MAP_FAILED && close(file) == 0);
  make(&shared->held, PTHREAD_PRIO_NONE);
  make(&shared->inherits_priority, PTHREAD_PRIO_INHERIT);
  make(&shared->left, PTHREAD_PRIO_NONE);
  const pid_t owner = fork();
  SUBJECT_NEED(owner >= 0);
  if (owner == 0) _exit(pthread_mutex_lock(&shared->left));
  int status = 0;
  SUBJECT_NEED(waitpid(owner, &status, 0) == owner && status == 0);
  SUBJECT_NEED(pthread_mutex_lock(&shared->held) == 0 && pthread_mutex_lock(&shared->inherits_priority) == 0);
  const pid_t one = wait_for(&shared->held, shared, 0);
  const pid_t other = wait_for(&shared->inherits_priority, shared, 1);
  while (shared->waits < 2) subject_sleep_ms(1);
  subject_sleep_ms(20);  // they wait, or soon will: either is right
  subject_ready();
  let_in(&shared->held, shared, 0, one);
  let_in(&shared->inherits_priority, shared, 1, other);
  const int result = pthread_mutex_lock(&shared->left);
  SUBJECT_CHECK(result == EOWNERDEAD, "the lock of one that was left returned %d", result);
  SUBJECT_CHECK(pthread_mutex_consistent(&shared->left) == 0 && pthread_mutex_unlock(&shared->left) == 0);
  subject_ok();
}
