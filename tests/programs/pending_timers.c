// Signals of POSIX timers that are pending: one for each timer, however often it has expired and the program was
// restarted, in the queue's order, and each timer goes on when its signal is taken.
// subject: also-static
#include <pthread.h>
#include <signal.h>

#include "subject.h"

enum { kOften = 1, kOnce = 2, kRare = 3, kProcessor = 4, kIgnored = 5, kCounted = 6, kDirected = 7 };

static pid_t other_id;

static int make(clockid_t clock, int signal, int value, pid_t target) {
  struct sigevent event = {.sigev_notify = target != 0 ? SIGEV_THREAD_ID : SIGEV_SIGNAL,
                           .sigev_signo = signal,
                           .sigev_value.sival_int = value};
  event._sigev_un._tid = target;
  int id = -1;
  SUBJECT_NEED(syscall(SYS_timer_create, clock, &event, &id) == 0);
  return id;
}

static void arm(int id, long milliseconds, long interval) {
  const struct itimerspec setting = {{interval / 1000, interval % 1000 * 1000000},
                                     {milliseconds / 1000, milliseconds % 1000 * 1000000}};
  SUBJECT_NEED(syscall(SYS_timer_settime, id, 0, &setting, NULL) == 0);
}

static double remaining(int id) {
  struct itimerspec now;
  SUBJECT_CHECK(syscall(SYS_timer_gettime, id, &now) == 0);
  return (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec * 1e-9;
}

// Whether `signal` is pending, for the calling thread or its process.
static int is_pending(int signal) {
  sigset_t pending;
  return sigpending(&pending) == 0 && sigismember(&pending, signal) == 1;
}

// Without a call that could be asleep: only until a timer of processor time is due does it take long.
static void wait_for(int signal) {
  while (!is_pending(signal)) {
  }
}

// Takes the next of `signal`, which must be of the timer with this value, and not of an impossible number.
static void take(int signal, int id, int value, double seconds) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, signal);
  siginfo_t info;
  const struct timespec limit = {(time_t)seconds, 0};
  const int got = sigtimedwait(&wanted, &info, &limit);
  SUBJECT_CHECK(got == signal, "signal %d of timer %d is not pending", signal, value);
  SUBJECT_CHECK(info.si_code == SI_TIMER && info.si_timerid == id && info.si_value.sival_int == value,
                "code %d, timer %d, value %d instead of %d", info.si_code, info.si_timerid, info.si_value.sival_int,
                value);
  SUBJECT_CHECK(info.si_overrun >= 0 && info.si_overrun < 1000000, "overrun %d", info.si_overrun);
}

static void take_queued(int signal, int value) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, signal);
  siginfo_t info;
  SUBJECT_CHECK(sigtimedwait(&wanted, &info, &(struct timespec){0, 0}) == signal, "%d is not pending", value);
  SUBJECT_CHECK(info.si_code == SI_QUEUE && info.si_value.sival_int == value, "code %d, value %d", info.si_code,
                info.si_value.sival_int);
}

static void nothing_more(int signal) { SUBJECT_CHECK(!is_pending(signal), "signal %d is pending once more", signal); }

static void queue(int signal, int value) {
  SUBJECT_NEED(sigqueue(getpid(), signal, (union sigval){.sival_int = value}) == 0);
}

// Once a timer is stopped nothing can come any more: what is pending of it was before. Linux 6.13 and later do not
// deliver that.
static void check_single(int id) {
  arm(id, 0, 0);
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGRTMIN + 6);
  int pending = 0;
  while (sigtimedwait(&wanted, NULL, &(struct timespec){0, 0}) > 0) ++pending;
  SUBJECT_CHECK(pending <= 1, "%d signals of one timer are pending", pending);
}

static int directed;

static void* other_thread(void* barrier) {
  other_id = subject_thread_id();
  directed = make(CLOCK_MONOTONIC, SIGRTMIN + 7, kDirected, other_id);
  arm(directed, 1, 20);
  wait_for(SIGRTMIN + 7);
  pthread_barrier_wait(barrier);
  subject_wait_for_go();
  take(SIGRTMIN + 7, directed, kDirected, 0);
  take(SIGRTMIN + 7, directed, kDirected, 60);
  return NULL;
}

int main(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);
  SUBJECT_NEED(signal(SIGUSR1, SIG_IGN) != SIG_ERR);

  const int often = make(CLOCK_MONOTONIC, SIGRTMIN + 1, kOften, 0);
  const int counted = make(CLOCK_MONOTONIC, SIGRTMIN + 6, kCounted, 0);
  const int once = make(CLOCK_BOOTTIME, SIGRTMIN + 2, kOnce, 0);
  const int rare = make(CLOCK_REALTIME, SIGRTMIN + 2, kRare, 0);
  const int processor = make(CLOCK_PROCESS_CPUTIME_ID, SIGRTMIN + 4, kProcessor, 0);
  const int ignored = make(CLOCK_MONOTONIC, SIGUSR1, kIgnored, 0);
  queue(SIGRTMIN + 2, 10);
  arm(rare, 1, 5000);
  while (remaining(rare) < 1) {
  }
  queue(SIGRTMIN + 2, 11);
  arm(once, 1, 0);
  while (remaining(once) > 0) {
  }
  queue(SIGRTMIN + 2, 12);
  arm(often, 1, 20);
  wait_for(SIGRTMIN + 1);
  arm(counted, 1, 20);
  wait_for(SIGRTMIN + 6);
  arm(processor, 1, 0);
  wait_for(SIGRTMIN + 4);
  arm(ignored, 1, 20);
  wait_for(SIGUSR1);

  subject_ready();

  pthread_join(thread, NULL);
  take(SIGRTMIN + 1, often, kOften, 0);
  take(SIGRTMIN + 1, often, kOften, 60);  // comes when the first is taken
  check_single(counted);
  take_queued(SIGRTMIN + 2, 10);
  const double left = remaining(rare);
  SUBJECT_CHECK(left > 0 && left <= 5, "%f s remain", left);
  take(SIGRTMIN + 2, rare, kRare, 0);
  take_queued(SIGRTMIN + 2, 11);
  SUBJECT_CHECK(remaining(once) == 0, "%f s remain", remaining(once));
  take(SIGRTMIN + 2, once, kOnce, 0);
  take_queued(SIGRTMIN + 2, 12);
  take(SIGRTMIN + 4, processor, kProcessor, 0);
  nothing_more(SIGRTMIN + 4);
  take(SIGUSR1, ignored, kIgnored, 0);
  subject_ok();
}
