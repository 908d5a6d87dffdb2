// Threads under different seccomp filters, one of which allows little, others kill: each has its own afterwards, with
// the same answers.
// subject: root-only
#include <pthread.h>

#include "seccomp.h"

static pthread_barrier_t barrier;

// Nothing else in common with the others than what all have.
static void* under_one_more(void* unused) {
  SUBJECT_NEED(seccomp_put(seccomp_refuse(SYS_getuid, SECCOMP_RET_ERRNO | ENOTTY), 0) == 0);
  // The newest filter with the strictest answer counts.
  SUBJECT_NEED(seccomp_put(seccomp_refuse(SYS_getuid, SECCOMP_RET_ERRNO | EBADE), SECCOMP_FILTER_FLAG_LOG) == 0);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  seccomp_check(SYS_getppid, EXDEV);
  seccomp_check(SYS_getuid, EBADE);
  seccomp_check(SYS_getgid, 0);
  return unused;
}

// Any call but these ends the whole program: those too that a checkpoint asks threads for.
static void* under_little(void* unused) {
  struct seccomp_filter filter = seccomp_begin();
  const long allowed[] = {SYS_futex, SYS_exit, SYS_clock_nanosleep, SYS_madvise, SYS_rt_sigprocmask};
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed; ++i) seccomp_answer(&filter, allowed[i], SECCOMP_RET_ALLOW);
  seccomp_answer(&filter, SYS_geteuid, SECCOMP_RET_ERRNO | EL2HLT);
  seccomp_end(&filter, SECCOMP_RET_KILL_PROCESS);
  SUBJECT_NEED(seccomp_put(filter, 0) == 0);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  seccomp_check(SYS_geteuid, EL2HLT);
  return unused;
}

static void* under_deadly(void* survived) {
  SUBJECT_NEED(seccomp_put(seccomp_refuse(SYS_getgid, SECCOMP_RET_KILL_THREAD), 0) == 0);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  seccomp_check(SYS_getppid, EXDEV);
  syscall(SYS_getgid);
  *(volatile int*)survived = 1;
  return NULL;
}

static void* under_none(void* unused) {
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  seccomp_check(SYS_getppid, EXDEV);
  seccomp_check(SYS_getuid, 0);
  seccomp_check(SYS_geteuid, 0);
  return unused;
}

static int sees_privileges(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }

int main(void) {
  void* (*const lives[])(void*) = {under_one_more, under_little, under_deadly, under_none};
  enum { kThreads = 4 };
  pthread_t threads[kThreads];
  volatile int survived = 0;
  pthread_barrier_init(&barrier, NULL, kThreads + 1);
  // Around all, though they are there already; without no_new_privs, as root may.
  pthread_t* const next = threads;
  SUBJECT_NEED(seccomp_put(seccomp_refuse(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV), SECCOMP_FILTER_FLAG_TSYNC) == 0);
  for (int i = 0; i < kThreads; ++i) SUBJECT_NEED(pthread_create(next + i, NULL, lives[i], (void*)&survived) == 0);
  pthread_barrier_wait(&barrier);

  subject_ready();

  SUBJECT_CHECK(sees_privileges() == 0, "no_new_privs has come");
  seccomp_check(SYS_getppid, EXDEV);
  seccomp_check(SYS_getuid, 0);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  SUBJECT_CHECK(!survived, "a call that kills its thread does not");
  subject_ok();
}
