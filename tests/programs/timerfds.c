// timerfd_create(2): every clock; disarmed, running once and repeatedly, expired and not read yet, set for a date, set
// for a date and cancelled by a change of the clock; a thread that waits for one.
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/timerfd.h>

#include "descriptors.h"

static int make(clockid_t clock, int flags, int how, double value, double interval) {
  const int timer = timerfd_create(clock, flags);
  SUBJECT_NEED(timer >= 0, "clock %d", clock);
  struct itimerspec setting = {.it_value = {(time_t)value, (long)((value - (double)(time_t)value) * 1e9)},
                               .it_interval = {(time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9)}};
  SUBJECT_NEED(timerfd_settime(timer, how, &setting, NULL) == 0, "clock %d", clock);
  return timer;
}

// Between the two, in seconds; and this interval.
static void check_remaining(int timer, double least, double most, double interval) {
  struct itimerspec now;
  SUBJECT_CHECK(timerfd_gettime(timer, &now) == 0);
  const double remaining = (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec * 1e-9;
  const double repeated = (double)now.it_interval.tv_sec + (double)now.it_interval.tv_nsec * 1e-9;
  SUBJECT_CHECK(remaining >= least && remaining <= most, "%f s remain, not %f to %f", remaining, least, most);
  SUBJECT_CHECK(repeated > interval - 1e-6 && repeated < interval + 1e-6, "interval %f instead of %f", repeated,
                interval);
}

// Ticks that are there already.
static uint64_t ticks_of(int timer) {
  struct pollfd entry = {timer, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 1 && entry.revents == POLLIN, "descriptor %d has no ticks", timer);
  uint64_t ticks = 0;
  SUBJECT_CHECK(read(timer, &ticks, sizeof ticks) == sizeof ticks);
  return ticks;
}

static void check_silent(int timer) {
  struct pollfd entry = {timer, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0, "descriptor %d has ticks", timer);
}

static void check_clock(int timer, clockid_t wanted, const char* flags) {
  char path[64], text[900] = "", clock_line[64];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", timer);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  SUBJECT_CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0 && close(file) == 0);
  snprintf(clock_line, sizeof clock_line, "clockid: %d\n", wanted);
  SUBJECT_CHECK(strstr(text, clock_line) != NULL && strstr(text, flags) != NULL, "%s", text);
}

static int awaited, repeated_awaited;
static _Atomic pid_t id;
static _Atomic uint64_t ticks_seen;

static void* wait_for_tick(void* unused) {
  (void)unused;
  id = subject_thread_id();
  uint64_t ticks = 0;
  SUBJECT_CHECK(read(awaited, &ticks, sizeof ticks) == sizeof ticks && ticks == 1, "%lu ticks", (unsigned long)ticks);
  return NULL;
}

static void* count_ticks(void* unused) {
  (void)unused;
  for (uint64_t ticks; read(repeated_awaited, &ticks, sizeof ticks) == sizeof ticks;) ticks_seen += ticks;
  subject_fail("waiting for a repeated timer failed with error %d", errno);
}

int main(void) {
  static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM,
                                     CLOCK_BOOTTIME_ALARM};
  // Clocks that wake the machine cannot be read where it has no real-time clock.
  static const clockid_t readable[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_BOOTTIME};
  enum { kClocks = sizeof clocks / sizeof *clocks };
  int running[kClocks], dated[kClocks], count = 3;
  const int probe = timerfd_create(CLOCK_BOOTTIME_ALARM, 0);  // CAP_WAKE_ALARM
  if (probe >= 0) count = kClocks;
  for (int i = 0; i < count; i++) {
    running[i] = make(clocks[i], TFD_CLOEXEC, 0, 1000, 0.25);
    dated[i] = make(clocks[i], 0, TFD_TIMER_ABSTIME, subject_seconds(readable[i]) + 2000, 0);
  }
  const int disarmed = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  const int disarmed_periodic = make(CLOCK_MONOTONIC, TFD_NONBLOCK, 0, 0, 7);
  const int stopped = make(CLOCK_REALTIME, 0, 0, 500, 5);
  SUBJECT_NEED(timerfd_settime(stopped, 0, &(struct itimerspec){0}, NULL) == 0);
  const int once = make(CLOCK_MONOTONIC, 0, 0, 0.001, 0);
  const int often = make(CLOCK_BOOTTIME, 0, 0, 0.001, 0.002);
  const int slow = make(CLOCK_MONOTONIC, 0, 0, 0.001, 3000);
  const int was_read = make(CLOCK_MONOTONIC, TFD_NONBLOCK, 0, 0.001, 0);
  uint64_t ticks = 0;
  struct pollfd entry = {was_read, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, -1) == 1 && read(was_read, &ticks, sizeof ticks) == sizeof ticks && ticks == 1);
  const int cancelled =
      make(CLOCK_REALTIME, 0, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, subject_seconds(CLOCK_REALTIME) + 4000, 0);
  const double date = subject_seconds(CLOCK_REALTIME) + 0.05;
  const int past_date = make(CLOCK_REALTIME, 0, TFD_TIMER_ABSTIME, date, 0);
  awaited = make(CLOCK_MONOTONIC, 0, 0, 600, 0);
  repeated_awaited = make(CLOCK_MONOTONIC, 0, 0, 0.01, 0.01);
  const int duplicate = dup(running[0]);
  pthread_t waiting, counting;
  SUBJECT_NEED(pthread_create(&waiting, NULL, wait_for_tick, NULL) == 0 &&
               pthread_create(&counting, NULL, count_ticks, NULL) == 0);
  while (id == 0) subject_sleep_ms(1);
  subject_wait_until_blocked(id);
  subject_sleep_ms(60);

  subject_ready();

  for (int i = 0; i < count; i++) {
    check_clock(running[i], clocks[i], "");
    check_remaining(running[i], 900, 1000, 0.25);
    check_remaining(dated[i], 1900, 2000, 0);
    SUBJECT_CHECK(fcntl(running[i], F_GETFD) == FD_CLOEXEC);
    check_silent(running[i]);
  }
  check_remaining(disarmed, 0, 0, 0);
  SUBJECT_CHECK((fcntl(disarmed, F_GETFL) & O_NONBLOCK) != 0);
  check_silent(disarmed);
  check_remaining(disarmed_periodic, 0, 0, 7);
  check_silent(disarmed_periodic);
  check_remaining(stopped, 0, 0, 0);
  check_silent(stopped);
  SUBJECT_CHECK(ticks_of(once) == 1);
  check_remaining(once, 0, 0, 0);
  const uint64_t many = ticks_of(often);
  SUBJECT_CHECK(many > 20, "%lu ticks", (unsigned long)many);
  check_remaining(often, 0, 0.002, 0.002);
  SUBJECT_CHECK(ticks_of(slow) == 1);
  check_remaining(slow, 2900, 3000, 3000);
  check_silent(was_read);
  check_clock(cancelled, CLOCK_REALTIME, "settime flags: 03");
  check_remaining(cancelled, 3900, 4000, 0);
  SUBJECT_CHECK(ticks_of(past_date) == 1);
  SUBJECT_CHECK(same_description(duplicate, running[0]));
  check_remaining(awaited, 500, 600, 0);
  SUBJECT_CHECK(pthread_tryjoin_np(waiting, NULL) == EBUSY);
  SUBJECT_CHECK(timerfd_settime(awaited, 0, &(struct itimerspec){.it_value = {0, 1}}, NULL) == 0);
  SUBJECT_CHECK(pthread_join(waiting, NULL) == 0);
  const uint64_t before = ticks_seen;
  for (int i = 0; i < 500 && ticks_seen < before + 3; i++) subject_sleep_ms(2);
  SUBJECT_CHECK(ticks_seen >= before + 3, "the repeated timer has stopped");
  subject_ok();
}
