// POSIX timers: ids with a gap, every kind of notification, clocks of real and of processor time, remaining time and
// interval.
// subject: also-static
#include <pthread.h>
#include <signal.h>

#include "subject.h"

static volatile sig_atomic_t plain_ticks;
static volatile sig_atomic_t thread_ticks;
static volatile sig_atomic_t wrong_thread;
static volatile int library_ticks;
static pthread_t main_thread;
static pid_t other_id;

static void on_plain(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  if (info->si_code != SI_TIMER || info->si_value.sival_int != 1001) _exit(4);
  ++plain_ticks;
}

static void on_thread(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  if (info->si_value.sival_int != 1002) _exit(5);
  if (pthread_equal(pthread_self(), main_thread)) wrong_thread = 1;
  ++thread_ticks;
}

static void on_library_thread(union sigval value) {
  if (value.sival_int == 1003) __atomic_add_fetch(&library_ticks, 1, __ATOMIC_SEQ_CST);
}

static int make(clockid_t clock, int notify, int signal, int value, pid_t target) {
  struct sigevent event = {.sigev_notify = notify, .sigev_signo = signal, .sigev_value.sival_int = value};
  event._sigev_un._tid = target;
  int id = -1;
  SUBJECT_NEED(syscall(SYS_timer_create, clock, &event, &id) == 0);
  return id;
}

static void arm(int id, double first, double interval) {
  const struct itimerspec setting = {{(time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9)},
                                     {(time_t)first, (long)((first - (double)(time_t)first) * 1e9)}};
  SUBJECT_NEED(syscall(SYS_timer_settime, id, 0, &setting, NULL) == 0);
}

static struct itimerspec time_of(int id) {
  struct itimerspec now;
  SUBJECT_CHECK(syscall(SYS_timer_gettime, id, &now) == 0, "timer %d is not there", id);
  return now;
}

static double remaining(int id) {
  const struct itimerspec now = time_of(id);
  return (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec * 1e-9;
}

static void* other_thread(void* barrier) {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, SIGRTMIN + 2);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  other_id = subject_thread_id();
  pthread_barrier_wait(barrier);
  while (other_id != 0) pause();
  return NULL;
}

int main(void) {
  main_thread = pthread_self();
  struct sigaction action = {.sa_flags = SA_RESTART | SA_SIGINFO};
  action.sa_sigaction = on_plain;
  SUBJECT_NEED(sigaction(SIGRTMIN + 1, &action, NULL) == 0);
  action.sa_sigaction = on_thread;
  SUBJECT_NEED(sigaction(SIGRTMIN + 2, &action, NULL) == 0);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);

  int ids[40];
  for (int i = 0; i < 40; ++i) ids[i] = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
  for (int i = 0; i < 39; ++i) SUBJECT_NEED(syscall(SYS_timer_delete, ids[i]) == 0);
  const int silent = ids[39];
  const int plain = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 1001, 0);
  const int directed = make(CLOCK_REALTIME, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN + 2, 1002, other_id);
  const int once = make(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMIN + 1, 1001, 0);
  const int processor = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN + 1, 1001, 0);
  const int own_processor =
      make(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN + 1, 1001, subject_thread_id());
  clockid_t others_clock;
  SUBJECT_NEED(pthread_getcpuclockid(thread, &others_clock) == 0);
  const int others_processor = make(others_clock, SIGEV_SIGNAL, SIGRTMIN + 1, 1001, 0);
  const int idle = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 1001, 0);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 1003};
  event.sigev_notify_function = on_library_thread;
  timer_t library;
  SUBJECT_NEED(timer_create(CLOCK_MONOTONIC, &event, &library) == 0);
  const struct itimerspec often = {{0, 20000000}, {0, 20000000}};
  SUBJECT_NEED(timer_settime(library, 0, &often, NULL) == 0);
  arm(silent, 2000, 0);
  arm(plain, 0.02, 0.02);
  arm(directed, 0.02, 0.02);
  arm(once, 3000, 0);
  arm(processor, 600, 60);
  arm(own_processor, 700, 0);
  arm(others_processor, 800, 0);

  subject_ready();

  SUBJECT_CHECK(remaining(silent) > 1800 && remaining(silent) <= 2000, "%f s remain", remaining(silent));
  SUBJECT_CHECK(remaining(once) > 2800 && remaining(once) <= 3000, "%f s remain", remaining(once));
  SUBJECT_CHECK(remaining(processor) > 590 && remaining(processor) <= 600, "%f s remain", remaining(processor));
  SUBJECT_CHECK(time_of(processor).it_interval.tv_sec == 60);
  SUBJECT_CHECK(remaining(own_processor) > 690 && remaining(own_processor) <= 700, "%f s remain",
                remaining(own_processor));
  SUBJECT_CHECK(remaining(others_processor) > 790 && remaining(others_processor) <= 800, "%f s remain",
                remaining(others_processor));
  SUBJECT_CHECK(remaining(idle) == 0, "%f s remain", remaining(idle));
  SUBJECT_CHECK(time_of(plain).it_interval.tv_nsec >= 19999000 && time_of(plain).it_interval.tv_nsec <= 20000000);

  const int before[3] = {plain_ticks, thread_ticks, library_ticks};
  const double start = subject_seconds(CLOCK_MONOTONIC);
  while (subject_seconds(CLOCK_MONOTONIC) - start < 0.5) subject_sleep_ms(5);
  SUBJECT_CHECK(plain_ticks > before[0] + 2 && plain_ticks < before[0] + 30, "%d ticks", plain_ticks - before[0]);
  SUBJECT_CHECK(thread_ticks > before[1] + 2 && thread_ticks < before[1] + 30, "%d ticks", thread_ticks - before[1]);
  SUBJECT_CHECK(library_ticks > before[2] + 2, "%d ticks", library_ticks - before[2]);
  SUBJECT_CHECK(!wrong_thread, "a timer notified another thread");

  // The processor time timers still measure whom they measured.
  const double own_before = remaining(own_processor);
  const double other_before = remaining(others_processor);
  const double busy = subject_seconds(CLOCK_THREAD_CPUTIME_ID);
  while (subject_seconds(CLOCK_THREAD_CPUTIME_ID) - busy < 0.1) {
  }
  SUBJECT_CHECK(own_before - remaining(own_processor) >= 0.09, "%f s went by", own_before - remaining(own_processor));
  SUBJECT_CHECK(other_before - remaining(others_processor) < 0.05, "%f s went by",
                other_before - remaining(others_processor));
  subject_ok();
}
