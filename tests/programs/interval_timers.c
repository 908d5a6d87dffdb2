// The three interval timers: those that wait keep what remained, and those that tick go on ticking.
#include <signal.h>
#include <sys/time.h>

#include "subject.h"

static volatile sig_atomic_t alarms;
static volatile sig_atomic_t profiles;

static void on_alarm(int signal) {
  (void)signal;
  ++alarms;
}

static void on_profile(int signal) {
  (void)signal;
  ++profiles;
}

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec * 1e-6; }

int main(void) {
  struct sigaction action = {.sa_flags = SA_RESTART};
  action.sa_handler = on_alarm;
  SUBJECT_NEED(sigaction(SIGALRM, &action, NULL) == 0);
  action.sa_handler = on_profile;
  SUBJECT_NEED(sigaction(SIGPROF, &action, NULL) == 0);
  const struct itimerval ticking = {{0, 20000}, {0, 20000}};
  const struct itimerval profile = {{0, 10000}, {0, 10000}};
  const struct itimerval waiting = {{77, 0}, {5000, 0}};
  SUBJECT_NEED(setitimer(ITIMER_REAL, &ticking, NULL) == 0 && setitimer(ITIMER_PROF, &profile, NULL) == 0);
  SUBJECT_NEED(setitimer(ITIMER_VIRTUAL, &waiting, NULL) == 0);

  subject_ready();

  struct itimerval now;
  SUBJECT_CHECK(getitimer(ITIMER_VIRTUAL, &now) == 0);
  SUBJECT_CHECK(seconds(now.it_value) > 4990 && seconds(now.it_value) <= 5000.01, "%f s remain", seconds(now.it_value));
  SUBJECT_CHECK(now.it_interval.tv_sec == 77 && now.it_interval.tv_usec == 0);
  SUBJECT_CHECK(getitimer(ITIMER_REAL, &now) == 0 && now.it_interval.tv_usec == 20000 &&
                seconds(now.it_value) <= 0.0201);

  const int alarms_before = alarms;
  const int profiles_before = profiles;
  const double start = subject_seconds(CLOCK_MONOTONIC);
  while (subject_seconds(CLOCK_MONOTONIC) - start < 0.5) {
  }
  const int ticks = alarms - alarms_before;
  SUBJECT_CHECK(ticks >= 5 && ticks <= 30, "%d alarms in half a second", ticks);
  SUBJECT_CHECK(profiles > profiles_before, "no profiling signal");
  subject_ok();
}
