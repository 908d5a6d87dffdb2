// Signals on input (fcntl(2)): O_ASYNC, F_SETSIG and F_SETOWN_EX for the process, its main thread and another thread.
#include <pthread.h>
#include <signal.h>

#include "descriptors.h"

static int for_process[2], for_main[2], for_other[2], without[2];
static _Atomic pid_t other;

static void ask(int file, int type, pid_t id, int number) {
  const struct f_owner_ex owner = {type, id};
  SUBJECT_NEED(fcntl(file, F_SETOWN_EX, &owner) == 0 && fcntl(file, F_SETSIG, number) == 0);
  SUBJECT_NEED(fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_ASYNC) == 0);
}

static void check_asked(int file, int type, pid_t id, int number) {
  struct f_owner_ex owner;
  SUBJECT_CHECK(fcntl(file, F_GETOWN_EX, &owner) == 0 && (int)owner.type == type && owner.pid == id,
                "type %d of %d instead of type %d of %d", owner.type, owner.pid, type, id);
  SUBJECT_CHECK(fcntl(file, F_GETSIG) == number);
}

static void expect_signal(int number, int file) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  siginfo_t info;
  const struct timespec limit = {2, 0};
  SUBJECT_CHECK(sigtimedwait(&set, &info, &limit) == number, "no signal %d", number);
  SUBJECT_CHECK(number == SIGIO || info.si_fd == file, "signal %d for descriptor %d instead of %d", number, info.si_fd,
                file);
}

static void* run(void* unused) {
  (void)unused;
  other = subject_thread_id();
  subject_wait_for_go();
  check_asked(for_other[0], F_OWNER_TID, subject_thread_id(), SIGRTMIN + 2);
  write_text(for_other[1], "x");
  expect_signal(SIGRTMIN + 2, for_other[0]);
  return NULL;
}

int main(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  SUBJECT_NEED(pipe(for_process) == 0 && pipe(for_main) == 0 && pipe(for_other) == 0 && pipe(without) == 0);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, run, NULL) == 0);
  while (other == 0) subject_sleep_ms(1);
  ask(for_process[0], F_OWNER_PID, getpid(), 0);
  ask(for_main[0], F_OWNER_TID, getpid(), SIGRTMIN + 1);
  ask(for_other[0], F_OWNER_TID, other, SIGRTMIN + 2);

  subject_ready();

  check_asked(for_process[0], F_OWNER_PID, getpid(), 0);
  check_asked(for_main[0], F_OWNER_TID, getpid(), SIGRTMIN + 1);
  SUBJECT_CHECK(fcntl(without[0], F_GETOWN) == 0 && fcntl(without[0], F_GETSIG) == 0);
  SUBJECT_CHECK((fcntl(for_process[0], F_GETFL) & O_ASYNC) != 0 && (fcntl(without[0], F_GETFL) & O_ASYNC) == 0);
  write_text(for_process[1], "x");
  expect_signal(SIGIO, for_process[0]);
  write_text(for_main[1], "x");
  expect_signal(SIGRTMIN + 1, for_main[0]);
  SUBJECT_CHECK(pthread_join(thread, NULL) == 0);
  subject_ok();
}
