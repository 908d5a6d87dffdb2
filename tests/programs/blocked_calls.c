// One thread in each call that waits for an event: after all rounds each goes on waiting, sees its event, and nothing
// else.
// subject: also-static
// subject: ids new
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>

#include "subject.h"

static int pipes[16][2];
static int event, signal_file;
static _Atomic int word;
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int condition_met;

static void expect_byte(int file, char wanted) {
  char byte = 0;
  SUBJECT_CHECK(read(file, &byte, 1) == 1 && byte == wanted, "byte '%c' instead of '%c'", byte, wanted);
}

static void in_read(void) { expect_byte(pipes[0][0], 'a'); }

static void in_poll(void) {
  struct pollfd entry = {pipes[1][0], POLLIN, 0};
  const int count = poll(&entry, 1, -1);
  SUBJECT_CHECK(count == 1 && entry.revents == POLLIN, "poll returned %d, events %x", count, entry.revents);
  expect_byte(pipes[1][0], 'b');
}

static void in_timed_poll(void) {
  struct pollfd entry = {pipes[2][0], POLLIN, 0};
  const int count = poll(&entry, 1, 600000);
  SUBJECT_CHECK(count == 1, "poll returned %d", count);
}

static void in_ppoll(void) {
  struct pollfd entry = {pipes[3][0], POLLIN, 0};
  const struct timespec limit = {600, 0};
  sigset_t mask;
  sigfillset(&mask);
  const int count = ppoll(&entry, 1, &limit, &mask);
  SUBJECT_CHECK(count == 1, "ppoll returned %d", count);
}

static void in_select(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipes[4][0], &set);
  struct timeval limit = {600, 0};
  const int count = select(pipes[4][0] + 1, &set, NULL, NULL, &limit);
  SUBJECT_CHECK(count == 1 && FD_ISSET(pipes[4][0], &set), "select returned %d", count);
}

static void in_epoll(int limit, int pipe_number) {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event wanted = {.events = EPOLLIN, .data.u64 = 0x1234567890};
  SUBJECT_NEED(set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, pipes[pipe_number][0], &wanted) == 0);
  struct epoll_event got = {0};
  const int count = epoll_wait(set, &got, 1, limit);
  SUBJECT_CHECK(count == 1 && got.data.u64 == 0x1234567890, "epoll_wait returned %d", count);
}
static void in_epoll_wait(void) { in_epoll(-1, 5); }
static void in_timed_epoll_wait(void) { in_epoll(600000, 6); }

static void in_full_pipe(void) { SUBJECT_CHECK(write(pipes[7][1], "z", 1) == 1); }

static void in_eventfd(void) {
  uint64_t value = 0;
  SUBJECT_CHECK(read(event, &value, sizeof value) == sizeof value && value == 77, "value %lu", (unsigned long)value);
}

static void in_signalfd(void) {
  struct signalfd_siginfo info;
  SUBJECT_CHECK(read(signal_file, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1);
}

static void in_sigwait(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  const struct timespec limit = {600, 0};
  siginfo_t info;
  const int number = sigtimedwait(&set, &info, &limit);
  SUBJECT_CHECK(number == SIGUSR2 && info.si_value.sival_int == 4711, "sigtimedwait returned %d", number);
}

static void in_futex(void) { SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == 0); }

static void in_timed_futex(void) {
  const struct timespec limit = {600, 0};
  SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &limit, NULL, 0) == 0);
}

static void in_absolute_futex(void) {
  struct timespec limit;
  clock_gettime(CLOCK_MONOTONIC, &limit);
  limit.tv_sec += 600;
  SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &limit, NULL, FUTEX_BITSET_MATCH_ANY) == 0);
}

static void in_semaphore(void) { SUBJECT_CHECK(sem_wait(&semaphore) == 0); }

static void in_timed_semaphore(void) {
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  limit.tv_sec += 600;
  SUBJECT_CHECK(sem_timedwait(&semaphore, &limit) == 0);
}

static void in_condition(void) {
  pthread_mutex_lock(&mutex);
  while (!condition_met) pthread_cond_wait(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
}

static void in_mutex(void) {
  SUBJECT_CHECK(pthread_mutex_lock(&held) == 0);
  pthread_mutex_unlock(&held);
}

static void (*const kCalls[])(void) = {in_read,        in_poll,           in_timed_poll,       in_ppoll,
                                       in_select,      in_epoll_wait,     in_timed_epoll_wait, in_full_pipe,
                                       in_eventfd,     in_signalfd,       in_sigwait,          in_futex,
                                       in_timed_futex, in_absolute_futex, in_semaphore,        in_timed_semaphore,
                                       in_condition,   in_mutex};
enum { kCount = sizeof kCalls / sizeof *kCalls };

static _Atomic pid_t ids[kCount];

static void* run(void* number) {
  ids[(intptr_t)number] = subject_thread_id();
  errno = 0;
  kCalls[(intptr_t)number]();
  return NULL;
}

static void wake_all(pthread_t sigwait_thread) {
  subject_wait_until_others_blocked();  // threads that were just let go have to get back into their calls
  const char* letters = "abcdefg";
  for (int i = 0; i < 7; i++) SUBJECT_CHECK(write(pipes[i][1], &letters[i], 1) == 1);
  char drained[65536];
  SUBJECT_CHECK(read(pipes[7][0], drained, sizeof drained) == sizeof drained);
  SUBJECT_CHECK(eventfd_write(event, 77) == 0);
  SUBJECT_CHECK(kill(getpid(), SIGUSR1) == 0);
  SUBJECT_CHECK(pthread_sigqueue(sigwait_thread, SIGUSR2, (union sigval){.sival_int = 4711}) == 0);
  word = 1;
  SUBJECT_CHECK(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) == 3,
                "not all three futex waiters were waiting");
  sem_post(&semaphore);
  sem_post(&semaphore);
  pthread_mutex_lock(&mutex);
  condition_met = 1;
  pthread_cond_broadcast(&condition);
  pthread_mutex_unlock(&mutex);
  pthread_mutex_unlock(&held);
}

int main(void) {
  sigset_t mask;
  sigfillset(&mask);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  for (int i = 0; i < 16; i++) SUBJECT_NEED(pipe(pipes[i]) == 0);
  SUBJECT_NEED(fcntl(pipes[7][1], F_GETPIPE_SZ) == 65536);
  static char zeros[65536];
  SUBJECT_NEED(write(pipes[7][1], zeros, sizeof zeros) == sizeof zeros);
  event = eventfd(0, 0);
  sigset_t user;
  sigemptyset(&user);
  sigaddset(&user, SIGUSR1);
  signal_file = signalfd(-1, &user, 0);
  sem_init(&semaphore, 0, 0);
  pthread_mutex_lock(&held);
  pthread_t threads[kCount];
  int sigwait_number = 0;
  for (intptr_t i = 0; i < kCount; i++) {
    SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)i) == 0);
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
    if (kCalls[i] == in_sigwait) sigwait_number = (int)i;
  }
  subject_ready();
  for (int i = 0; i < kCount; i++)
    SUBJECT_CHECK(pthread_tryjoin_np(threads[i], NULL) == EBUSY, "call %d did not wait", i);
  wake_all(threads[sigwait_number]);
  for (int i = 0; i < kCount; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  subject_ok();
}
