// Signals that are pending for the process and for single threads: with their values, in their order, standard ones
// once.
#include <pthread.h>
#include <signal.h>

#include "subject.h"

static sigset_t all;
static pid_t thread_id;

static void queue_for_process(int signal, int value) {
  SUBJECT_NEED(sigqueue(getpid(), signal, (union sigval){.sival_int = value}) == 0);
}

static void queue_for_thread(pthread_t thread, int signal, int value) {
  SUBJECT_NEED(pthread_sigqueue(thread, signal, (union sigval){.sival_int = value}) == 0);
}

// The next pending one of `signal`, with this value and code.
static siginfo_t take(int signal, int code) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, signal);
  siginfo_t info;
  const int got = sigtimedwait(&wanted, &info, &(struct timespec){0, 0});
  SUBJECT_CHECK(got == signal, "signal %d is not pending", signal);
  SUBJECT_CHECK(info.si_code == code, "signal %d has code %d", signal, info.si_code);
  return info;
}

static void take_value(int signal, int value) {
  const siginfo_t info = take(signal, SI_QUEUE);
  SUBJECT_CHECK(info.si_value.sival_int == value, "signal %d has value %d instead of %d", signal,
                info.si_value.sival_int, value);
  SUBJECT_CHECK(info.si_uid == getuid());
}

static void nothing_more(void) {
  siginfo_t info;
  const int got = sigtimedwait(&all, &info, &(struct timespec){0, 0});
  SUBJECT_CHECK(got < 0 && errno == EAGAIN, "signal %d is pending too (code %d)", got, info.si_code);
}

static void* other_thread(void* barrier) {
  thread_id = subject_thread_id();
  pthread_barrier_wait(barrier);
  subject_wait_for_go();
  pthread_barrier_wait(barrier);  // the main thread has taken what is the process's
  take_value(SIGRTMIN + 3, 300);
  take_value(SIGRTMIN + 3, 301);
  take(SIGTERM, SI_USER);  // the C library shows SI_TKILL so
  nothing_more();
  return NULL;
}

int main(void) {
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);

  for (int value = 0; value < 100; ++value) queue_for_process(SIGRTMIN + 1, value);
  queue_for_process(SIGRTMIN + 5, 5);
  queue_for_process(SIGUSR1, 1);
  queue_for_process(SIGUSR1, 2);  // lost, as any second standard signal
  SUBJECT_NEED(kill(getpid(), SIGHUP) == 0 && kill(getpid(), SIGCHLD) == 0 && kill(getpid(), SIGWINCH) == 0);
  queue_for_thread(pthread_self(), SIGRTMIN + 2, 200);
  queue_for_thread(pthread_self(), SIGRTMIN + 2, 201);
  queue_for_thread(thread, SIGRTMIN + 3, 300);
  queue_for_thread(thread, SIGRTMIN + 3, 301);
  SUBJECT_NEED(pthread_kill(thread, SIGTERM) == 0);
  const pid_t own = getpid();

  subject_ready();

  take_value(SIGRTMIN + 2, 200);
  take_value(SIGRTMIN + 2, 201);
  for (int value = 0; value < 100; ++value) take_value(SIGRTMIN + 1, value);
  take_value(SIGRTMIN + 5, 5);
  take_value(SIGUSR1, 1);
  const siginfo_t hangup = take(SIGHUP, SI_USER);
  SUBJECT_CHECK(hangup.si_pid == own && hangup.si_uid == getuid(), "SIGHUP comes from %d", (int)hangup.si_pid);
  take(SIGCHLD, SI_USER);
  take(SIGWINCH, SI_USER);
  nothing_more();
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  subject_ok();
}
