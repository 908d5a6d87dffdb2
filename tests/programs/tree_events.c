// What a parent and its child share besides files: an eventfd, a timerfd that is running, an epoll instance with
// watches that each of them has registered, also under a number that the other has for something else, and a signalfd,
// at which each reads the signals that it was sent itself.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "sockets.h"

enum { kStatus = 43, kNumber = 60 };

static void expect_events(int epoll, const char* who, uint64_t first, uint64_t second) {
  struct epoll_event events[8];
  const int count = epoll_wait(epoll, events, 8, 0);
  SUBJECT_CHECK(count == 2, "%s sees %d events", who, count);
  const uint64_t sum = events[0].data.u64 + events[1].data.u64;
  SUBJECT_CHECK(sum == first + second, "%s sees events of %d and %d", who, (int)events[0].data.u64,
                (int)events[1].data.u64);
}

static void watch(int epoll, int number, uint64_t data) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
  SUBJECT_NEED(epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event) == 0, "descriptor %d", number);
}

static void expect_signal(int signals, int value) {
  struct signalfd_siginfo info = {0};
  SUBJECT_CHECK(read(signals, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_int == value,
                "value %d instead of %d", info.ssi_int, value);
}

static void send_self(int value) { SUBJECT_NEED(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = value}) == 0); }

static void child(int talk, int epoll, int counter, int timer, int signals) {
  int ends[2];
  char byte;
  SUBJECT_NEED(pipe(ends) == 0 && dup2(ends[0], kNumber) == kNumber && write(ends[1], "x", 1) == 1);
  watch(epoll, kNumber, 1000);
  send_self(2);
  if (write(talk, "", 1) != 1 || read(talk, &byte, 1) != 1) _exit(2);  // all checkpoints and restarts happen in here
  expect_events(epoll, "the child", 1000, 2000);
  expect_signal(signals, 2);
  uint64_t count = 0;
  SUBJECT_CHECK(read(counter, &count, sizeof count) == sizeof count && count == 7, "%d", (int)count);
  struct itimerspec left;
  SUBJECT_CHECK(timerfd_gettime(timer, &left) == 0 && left.it_value.tv_sec > 3000);
  SUBJECT_CHECK(timerfd_settime(timer, 0, &(struct itimerspec){{0, 0}, {100, 0}}, NULL) == 0);
  _exit(kStatus);
}

int main(void) {
  int talk[2], ends[2];
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, NULL);
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, talk) == 0);
  const int epoll = epoll_create1(0), counter = eventfd(0, EFD_NONBLOCK), timer = timerfd_create(CLOCK_BOOTTIME, 0);
  const int signals = signalfd(-1, &usr1, SFD_NONBLOCK);
  SUBJECT_NEED(epoll >= 0 && counter >= 0 && timer >= 0 && signals >= 0);
  SUBJECT_NEED(timerfd_settime(timer, 0, &(struct itimerspec){{0, 0}, {3600, 0}}, NULL) == 0);
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) {
    close(talk[0]);
    child(talk[1], epoll, counter, timer, signals);
  }
  close(talk[1]);
  SUBJECT_NEED(pipe(ends) == 0 && dup2(ends[0], kNumber) == kNumber && write(ends[1], "x", 1) == 1);
  watch(epoll, kNumber, 2000);
  send_self(1);
  const uint64_t seven = 7;
  SUBJECT_NEED(write(counter, &seven, sizeof seven) == sizeof seven);
  char byte;
  SUBJECT_NEED(read(talk[0], &byte, 1) == 1);

  subject_ready();

  expect_events(epoll, "the parent", 1000, 2000);
  expect_signal(signals, 1);
  SUBJECT_CHECK(write(talk[0], "", 1) == 1);
  int status = 0;
  SUBJECT_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == kStatus, "status %#x",
                (unsigned)status);
  uint64_t count = 0;
  expect_error(read(counter, &count, sizeof count), EAGAIN, "the child has read it");
  struct itimerspec left;
  SUBJECT_CHECK(timerfd_gettime(timer, &left) == 0 && left.it_value.tv_sec <= 100 && left.it_value.tv_sec > 0,
                "the timers are two: %ld s", (long)left.it_value.tv_sec);
  subject_ok();
}
