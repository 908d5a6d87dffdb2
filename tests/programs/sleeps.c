// One thread in each timed call: none ends early, none starts over after a restart, none sees EINTR.
// subject: keeps-running 0.4
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "subject.h"

enum { kSeconds = 5 };  // of every sleep: longer than three rounds of checkpoint and restart
static const double kTime = kSeconds;
static const double kTolerance = 0.8;  // for a busy machine; starting over costs more than 1 s by the third round
static const struct timespec kLimit = {kSeconds, 0};

static _Atomic int stop;
static double
    seconds_lost;  // in gaps between the ticks: the time in which this program did not run, by the clock of the world

static void* tick(void* unused) {
  double last = subject_seconds(CLOCK_REALTIME);
  while (!stop) {
    subject_sleep_ms(5);
    const double now = subject_seconds(CLOCK_REALTIME);
    if (now - last > 0.03) seconds_lost += now - last;
    last = now;
  }
  return unused;
}

static struct timespec deadline(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  time.tv_sec += kLimit.tv_sec;
  return time;
}

static void in_nanosleep(void) { SUBJECT_CHECK(nanosleep(&kLimit, NULL) == 0); }
static void in_clock_nanosleep(void) { SUBJECT_CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &kLimit, NULL) == 0); }
static void in_boottime_sleep(void) { SUBJECT_CHECK(clock_nanosleep(CLOCK_BOOTTIME, 0, &kLimit, NULL) == 0); }
static void in_realtime_sleep(void) { SUBJECT_CHECK(clock_nanosleep(CLOCK_REALTIME, 0, &kLimit, NULL) == 0); }
static void in_absolute_sleep(void) {
  const struct timespec time = deadline(CLOCK_MONOTONIC);
  SUBJECT_CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == 0);
}
static void in_absolute_realtime_sleep(void) {
  const struct timespec time = deadline(CLOCK_REALTIME);
  SUBJECT_CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &time, NULL) == 0);
}
static void in_poll(void) { SUBJECT_CHECK(poll(NULL, 0, 1000 * kSeconds) == 0); }
static void in_ppoll(void) { SUBJECT_CHECK(ppoll(NULL, 0, &kLimit, NULL) == 0); }
static void in_select(void) {
  struct timeval limit = {kSeconds, 0};
  SUBJECT_CHECK(select(0, NULL, NULL, NULL, &limit) == 0);
}
static void in_epoll_wait(void) {
  struct epoll_event event;
  SUBJECT_CHECK(epoll_wait(epoll_create1(EPOLL_CLOEXEC), &event, 1, 1000 * kSeconds) == 0);
}
static void in_epoll_pwait2(void) {
  struct epoll_event event;
  const long result = syscall(SYS_epoll_pwait2, epoll_create1(EPOLL_CLOEXEC), &event, 1, &kLimit, NULL, 8);
  SUBJECT_CHECK(result == 0 && kLimit.tv_sec == kSeconds && kLimit.tv_nsec == 0);
}
static void in_futex(void) {
  int word = 0;
  SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &kLimit, NULL, 0) == -1 && errno == ETIMEDOUT);
}
static void in_absolute_futex(void) {
  int word = 0;
  const struct timespec time = deadline(CLOCK_MONOTONIC);
  SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &time, NULL, FUTEX_BITSET_MATCH_ANY) == -1 &&
                errno == ETIMEDOUT);
}
static void in_sigtimedwait(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  SUBJECT_CHECK(sigtimedwait(&set, NULL, &kLimit) == -1 && errno == EAGAIN);
}
static void in_timed_semaphore(void) {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  const struct timespec time = deadline(CLOCK_REALTIME);
  SUBJECT_CHECK(sem_timedwait(&semaphore, &time) == -1 && errno == ETIMEDOUT);
}

static const struct {
  const char* name;
  void (*call)(void);
  clockid_t clock;
} kCalls[] = {
    {"nanosleep", in_nanosleep, CLOCK_MONOTONIC},
    {"clock_nanosleep", in_clock_nanosleep, CLOCK_MONOTONIC},
    {"clock_nanosleep of CLOCK_BOOTTIME", in_boottime_sleep, CLOCK_BOOTTIME},
    {"clock_nanosleep of CLOCK_REALTIME", in_realtime_sleep, CLOCK_REALTIME},
    {"absolute clock_nanosleep", in_absolute_sleep, CLOCK_MONOTONIC},
    {"absolute clock_nanosleep of CLOCK_REALTIME", in_absolute_realtime_sleep, CLOCK_REALTIME},
    {"poll", in_poll, CLOCK_MONOTONIC},
    {"ppoll", in_ppoll, CLOCK_MONOTONIC},
    {"select", in_select, CLOCK_MONOTONIC},
    {"epoll_wait", in_epoll_wait, CLOCK_MONOTONIC},
    {"epoll_pwait2", in_epoll_pwait2, CLOCK_MONOTONIC},
    {"futex", in_futex, CLOCK_MONOTONIC},
    {"absolute futex", in_absolute_futex, CLOCK_MONOTONIC},
    {"sigtimedwait", in_sigtimedwait, CLOCK_MONOTONIC},
    {"sem_timedwait", in_timed_semaphore, CLOCK_REALTIME},
};
enum { kCount = sizeof kCalls / sizeof *kCalls };
static _Atomic pid_t ids[kCount];
static double took[kCount];

static void* run(void* argument) {
  const intptr_t number = (intptr_t)argument;
  ids[number] = subject_thread_id();
  const double begin = subject_seconds(kCalls[number].clock);
  kCalls[number].call();
  took[number] = subject_seconds(kCalls[number].clock) - begin;
  return NULL;
}

int main(void) {
  sigset_t mask;
  sigfillset(&mask);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  pthread_t threads[kCount], ticker;
  for (intptr_t i = 0; i < kCount; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)i) == 0);
  for (int i = 0; i < kCount; i++) {
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
  }
  SUBJECT_NEED(pthread_create(&ticker, NULL, tick, NULL) == 0);
  subject_ready();
  for (int i = 0; i < kCount; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  stop = 1;
  SUBJECT_CHECK(pthread_join(ticker, NULL) == 0);
  for (int i = 0; i < kCount; i++) {
    SUBJECT_CHECK(took[i] > kTime - 0.002, "%s ended early, after %f s", kCalls[i].name, took[i]);
    // docs/limits.md, "Waits": a limit that lies in memory begins anew where the kernel answers EINTR to a stop.
    const double anew = strcmp(kCalls[i].name, "sigtimedwait") == 0 ? kTime : 0;
    SUBJECT_CHECK(took[i] < kTime + anew + seconds_lost + kTolerance, "%s took %f s, of which %f s were lost",
                  kCalls[i].name, took[i], seconds_lost);
  }
  subject_ok();
}
