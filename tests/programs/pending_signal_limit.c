// A timer that was made before the limit of pending signals, which timers count to, was lowered to nothing.
#include <signal.h>
#include <sys/resource.h>

#include "subject.h"

int main(void) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGRTMIN);
  SUBJECT_NEED(sigprocmask(SIG_BLOCK, &wanted, NULL) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 17};
  timer_t timer;
  SUBJECT_NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  const struct rlimit none = {0, 0};
  SUBJECT_NEED(setrlimit(RLIMIT_SIGPENDING, &none) == 0);

  subject_ready();

  struct rlimit limit;
  SUBJECT_CHECK(getrlimit(RLIMIT_SIGPENDING, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0);
  const struct itimerspec soon = {.it_value = {0, 1000000}};
  SUBJECT_CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
  siginfo_t info;
  const struct timespec patience = {10, 0};
  SUBJECT_CHECK(sigtimedwait(&wanted, &info, &patience) == SIGRTMIN && info.si_value.sival_int == 17);
  subject_ok();
}
