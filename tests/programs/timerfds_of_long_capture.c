// Timers run on while a program is frozen, and its clocks, as a restart sets them, do not: what remains of a timerfd is
// counted from when the clocks were read, also where much is captured between (a System V queue of many messages).
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/timerfd.h>
#include <time.h>

#include "subject.h"

#define MESSAGES 8000
#define SECONDS 1000

static double now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(void) {
  static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME};
  const int queue = msgget(IPC_PRIVATE, 0600);
  SUBJECT_NEED(queue >= 0);
  subject_leaves('q', queue);
  const struct {
    long type;
    char text[1];
  } message = {1, "x"};
  for (int i = 0; i < MESSAGES; i++) SUBJECT_NEED(msgsnd(queue, &message, 1, IPC_NOWAIT) == 0);
  int timers[2];
  double dates[2];
  for (int i = 0; i < 2; i++) {
    const struct itimerspec relative = {.it_value.tv_sec = SECONDS};
    timers[i] = timerfd_create(clocks[i], TFD_NONBLOCK);
    SUBJECT_NEED(timers[i] >= 0 && timerfd_settime(timers[i], 0, &relative, NULL) == 0);
    dates[i] = now(clocks[i]) + SECONDS;
  }
  subject_ready();
  for (int i = 0; i < 2; i++) {
    struct itimerspec left;
    const double before = now(clocks[i]);
    SUBJECT_CHECK(timerfd_gettime(timers[i], &left) == 0);
    const double expires = before + (double)left.it_value.tv_sec + (double)left.it_value.tv_nsec / 1e9;
    SUBJECT_CHECK(expires > dates[i] - 0.01, "timer %d expires %.3f s before its date", i, dates[i] - expires);
  }
  SUBJECT_CHECK(msgctl(queue, IPC_RMID, NULL) == 0);
  subject_ok();
}
