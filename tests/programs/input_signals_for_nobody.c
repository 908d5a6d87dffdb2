// Signals on input (fcntl(2)) that nobody gets: O_ASYNC and F_SETSIG without an owner, and with one that has ended.
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "descriptors.h"

static int without[2], of_thread[2], of_child[2], only_signal[2];

static void ask(int file, int number) {
  SUBJECT_NEED(fcntl(file, F_SETSIG, number) == 0);
  SUBJECT_NEED(fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_ASYNC) == 0);
}

static void check_asked(int file, int number) {
  SUBJECT_CHECK((fcntl(file, F_GETFL) & O_ASYNC) != 0, "the flags are %#x", fcntl(file, F_GETFL));
  SUBJECT_CHECK(fcntl(file, F_GETSIG) == number, "the signal is %d", fcntl(file, F_GETSIG));
  SUBJECT_CHECK(fcntl(file, F_GETOWN) == 0, "the owner is %d", fcntl(file, F_GETOWN));
}

static void* own_and_end(void* unused) {
  const struct f_owner_ex owner = {F_OWNER_TID, subject_thread_id()};
  SUBJECT_NEED(fcntl(of_thread[0], F_SETOWN_EX, &owner) == 0);
  return unused;
}

static int is_pending(int number) {
  sigset_t pending;
  return sigpending(&pending) == 0 && sigismember(&pending, number) == 1;
}

int main(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  SUBJECT_NEED(pipe(without) == 0 && pipe(of_thread) == 0 && pipe(of_child) == 0 && pipe(only_signal) == 0);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, own_and_end, NULL) == 0 && pthread_join(thread, NULL) == 0);
  const pid_t child = fork();
  if (child == 0) _exit(0);
  SUBJECT_NEED(child > 0 && fcntl(of_child[0], F_SETOWN, child) == 0 && waitpid(child, NULL, 0) == child);
  ask(without[0], 0);
  ask(of_thread[0], SIGRTMIN + 1);
  ask(of_child[0], SIGRTMIN + 2);
  SUBJECT_NEED(fcntl(only_signal[0], F_SETSIG, SIGRTMIN + 3) == 0);

  subject_ready();

  check_asked(without[0], 0);
  check_asked(of_thread[0], SIGRTMIN + 1);
  check_asked(of_child[0], SIGRTMIN + 2);
  SUBJECT_CHECK(fcntl(only_signal[0], F_GETSIG) == SIGRTMIN + 3 && (fcntl(only_signal[0], F_GETFL) & O_ASYNC) == 0);
  write_text(of_thread[1], "x");
  SUBJECT_CHECK(!is_pending(SIGRTMIN + 1), "a signal came");
  SUBJECT_CHECK(fcntl(of_thread[0], F_SETOWN, getpid()) == 0);
  write_text(of_thread[1], "x");
  SUBJECT_CHECK(is_pending(SIGRTMIN + 1), "no signal came");
  subject_ok();
}
