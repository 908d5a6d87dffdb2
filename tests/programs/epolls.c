// epoll(7): every mode, the values that come with events, nesting, watches whose descriptor was duplicated and closed
// or used again, one-shot watches that have fired, and a thread that waits.
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include "descriptors.h"

static int make_pipe(int ends[2]) { return pipe2(ends, O_NONBLOCK | O_CLOEXEC); }

static void watch(int set, int file, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  SUBJECT_CHECK(epoll_ctl(set, EPOLL_CTL_ADD, file, &event) == 0, "descriptor %d", file);
}

// The next event; nothing else is reported together with it.
static void expect_event(int set, uint32_t events, uint64_t data) {
  struct epoll_event got[4];
  const int count = epoll_wait(set, got, 4, 0);
  SUBJECT_CHECK(count == 1, "%d events instead of %#lx", count, (unsigned long)data);
  SUBJECT_CHECK(got[0].events == events && got[0].data.u64 == data, "events %#x of %#lx instead of %#x of %#lx",
                got[0].events, (unsigned long)got[0].data.u64, events, (unsigned long)data);
}

static void expect_silence(int set) {
  struct epoll_event got;
  const int count = epoll_wait(set, &got, 1, 0);
  SUBJECT_CHECK(count == 0, "events %#x of %#lx", got.events, (unsigned long)got.data.u64);
}

// ioctl_eventpoll(2), since Linux 6.9; the C library's headers are older.
struct busy_polling {
  uint32_t microseconds;
  uint16_t budget;
  uint8_t preferred, padding;
};
#define SET_BUSY_POLLING _IOW(0x8a, 0x01, struct busy_polling)
#define GET_BUSY_POLLING _IOR(0x8a, 0x02, struct busy_polling)

static int awaited_set;

static void* wait_for_event(void* unused) {
  (void)unused;
  struct epoll_event got;
  const int count = epoll_wait(awaited_set, &got, 1, -1);
  SUBJECT_CHECK(count == 1 && got.data.u64 == 0xaaaaaaaabbbbbbbb, "%d events", count);
  return NULL;
}

int main(void) {
  int level[2], edge[2], fired[2], armed[2], moved[2], reused[2], inner_pipe[2], exclusive[2], unread_edge[2],
      output[2];
  SUBJECT_NEED(make_pipe(level) == 0 && make_pipe(edge) == 0 && make_pipe(fired) == 0 && make_pipe(armed) == 0 &&
               make_pipe(moved) == 0);
  SUBJECT_NEED(make_pipe(reused) == 0 && make_pipe(inner_pipe) == 0 && make_pipe(exclusive) == 0 &&
               make_pipe(unread_edge) == 0 && make_pipe(output) == 0);

  const int by_level = epoll_create1(EPOLL_CLOEXEC);
  watch(by_level, level[0], EPOLLIN | EPOLLRDHUP | EPOLLPRI, 0xfedcba9876543210);
  write_text(level[1], "ready");

  // An edge that nobody has seen yet, and one that was seen: it may come once more, but only once.
  const int by_edge = epoll_create1(0), by_unread_edge = epoll_create1(0);
  watch(by_edge, edge[0], EPOLLIN | EPOLLET, 2);
  write_text(edge[1], "seen");
  expect_event(by_edge, EPOLLIN, 2);
  expect_silence(by_edge);
  watch(by_unread_edge, unread_edge[0], EPOLLIN | EPOLLET, 3);
  write_text(unread_edge[1], "not seen");

  const int once = epoll_create1(0);
  watch(once, fired[0], EPOLLIN | EPOLLONESHOT, 4);
  write_text(fired[1], "x");
  expect_event(once, EPOLLIN, 4);
  watch(once, armed[0], EPOLLIN | EPOLLONESHOT, 5);

  // Registered under a number that is closed since, or belongs to another file: the file is still watched as long as a
  // duplicate is open.
  const int stale = epoll_create1(0);
  SUBJECT_NEED(dup2(moved[0], 140) == 140 && close(moved[0]) == 0);  // a number that nothing else gets
  moved[0] = 140;
  watch(stale, moved[0], EPOLLIN, 6);
  const int moved_to = fcntl(moved[0], F_DUPFD_CLOEXEC, 150);
  SUBJECT_NEED(moved_to >= 0 && close(moved[0]) == 0);
  const int stale_reused = epoll_create1(0);
  watch(stale_reused, reused[0], EPOLLIN, 7);
  const int reused_to = fcntl(reused[0], F_DUPFD_CLOEXEC, 160);
  const int other_event = eventfd(0, EFD_NONBLOCK);
  SUBJECT_NEED(reused_to >= 0 && dup2(other_event, reused[0]) == reused[0]);
  watch(stale_reused, reused[0], EPOLLIN, 8);  // the same number, another file

  const int inner = epoll_create1(0), outer = epoll_create1(0);
  watch(inner, inner_pipe[0], EPOLLIN, 9);
  watch(outer, inner, EPOLLIN, 10);

  const int shared = epoll_create1(0), shared_again = epoll_create1(0);
  watch(shared, exclusive[0], EPOLLIN | EPOLLEXCLUSIVE, 11);
  watch(shared_again, exclusive[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, 12);

  const int many = epoll_create1(0);
  const int event = eventfd(0, EFD_NONBLOCK), timer = timerfd_create(CLOCK_MONOTONIC, 0);
  watch(many, event, EPOLLIN, 13);
  watch(many, timer, EPOLLIN, 14);
  watch(many, output[1], EPOLLOUT | EPOLLET, 15);
  const int many_duplicate = dup(many);

  const int polls = epoll_create1(0);
  const struct busy_polling asked = {.microseconds = 70, .budget = 8, .preferred = 1};
  const int can_poll = ioctl(polls, SET_BUSY_POLLING, &asked) == 0;
  SUBJECT_NEED(can_poll || errno == ENOTTY || errno == EINVAL || errno == EOPNOTSUPP);

  awaited_set = epoll_create1(0);
  const int awaited = eventfd(0, 0);
  watch(awaited_set, awaited, EPOLLIN | EPOLLET, 0xaaaaaaaabbbbbbbb);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, wait_for_event, NULL) == 0);
  subject_wait_until_others_blocked();

  subject_ready();

  struct busy_polling polling = {0};
  SUBJECT_CHECK(!can_poll || (ioctl(polls, GET_BUSY_POLLING, &polling) == 0 && polling.microseconds == 70 &&
                              polling.budget == 8 && polling.preferred == 1),
                "polls for %u us, budget %u", polling.microseconds, polling.budget);
  SUBJECT_CHECK(fcntl(by_level, F_GETFD) == FD_CLOEXEC && fcntl(by_edge, F_GETFD) == 0);
  for (int i = 0; i < 2; i++) expect_event(by_level, EPOLLIN, 0xfedcba9876543210);
  expect_read(level[0], "ready");
  expect_silence(by_level);
  SUBJECT_CHECK(close(level[1]) == 0);
  expect_event(by_level, EPOLLHUP, 0xfedcba9876543210);

  struct epoll_event got;
  SUBJECT_CHECK(epoll_wait(by_edge, &got, 1, 0) <= 1);
  expect_silence(by_edge);
  write_text(edge[1], " again");
  expect_event(by_edge, EPOLLIN, 2);
  expect_silence(by_edge);
  expect_event(by_unread_edge, EPOLLIN, 3);
  expect_silence(by_unread_edge);

  write_text(fired[1], "y");
  expect_silence(once);
  write_text(armed[1], "z");
  expect_event(once, EPOLLIN, 5);
  write_text(armed[1], "z");
  expect_silence(once);
  SUBJECT_CHECK(epoll_ctl(once, EPOLL_CTL_MOD, fired[0],
                          &(struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 44}) == 0);
  expect_event(once, EPOLLIN, 44);

  expect_error(epoll_ctl(stale, EPOLL_CTL_DEL, moved[0], NULL), EBADF, "using a closed number");
  expect_error(epoll_ctl(stale, EPOLL_CTL_MOD, moved_to, &got), ENOENT, "using the duplicate's number");
  write_text(moved[1], "still there");
  expect_event(stale, EPOLLIN, 6);
  SUBJECT_CHECK(dup2(moved_to, moved[0]) == moved[0] && epoll_ctl(stale, EPOLL_CTL_DEL, moved[0], NULL) == 0,
                "the old number does not lead to the watch");
  expect_silence(stale);

  write_text(reused[1], "old");
  expect_event(stale_reused, EPOLLIN, 7);
  expect_read(reused_to, "old");
  SUBJECT_CHECK(eventfd_write(other_event, 1) == 0);
  expect_event(stale_reused, EPOLLIN, 8);

  expect_silence(outer);
  write_text(inner_pipe[1], "deep");
  expect_event(outer, EPOLLIN, 10);
  expect_event(inner, EPOLLIN, 9);

  expect_error(epoll_ctl(shared, EPOLL_CTL_MOD, exclusive[0], &(struct epoll_event){.events = EPOLLIN}), EINVAL,
               "changing an exclusive watch");
  write_text(exclusive[1], "!");
  expect_event(shared, EPOLLIN, 11);
  expect_event(shared_again, EPOLLIN, 12);
  expect_silence(shared_again);

  expect_event(many, EPOLLOUT, 15);  // never reported before
  expect_silence(many);
  SUBJECT_CHECK(eventfd_write(event, 1) == 0);
  expect_event(many_duplicate, EPOLLIN, 13);
  uint64_t value;
  SUBJECT_CHECK(read(event, &value, sizeof value) == sizeof value);
  SUBJECT_CHECK(timerfd_settime(timer, 0, &(struct itimerspec){.it_value = {0, 1}}, NULL) == 0 &&
                epoll_wait(many, &got, 1, 2000) == 1 && got.data.u64 == 14);

  SUBJECT_CHECK(pthread_tryjoin_np(thread, NULL) == EBUSY && eventfd_write(awaited, 1) == 0 &&
                pthread_join(thread, NULL) == 0);
  subject_ok();
}
