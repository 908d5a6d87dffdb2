#include "engine/resources/timers/timers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <ctime>

#include "base/error.h"
#include "engine/resources/timers/timer_list.h"
#include "pages/child.h"
#include "process/round_trip.h"

namespace crs::engine {
namespace {

using test::Child;

constexpr char kList[] =
    "ID: 4\nsignal: 40/0000001234567890\nnotify: signal/tid.9119\nClockID: -72954\n"
    "ID: 1\nsignal: 14/0000000000000001\nnotify: signal/pid.9119\nClockID: 0\n"
    "ID: 0\nsignal: 0/0000000000000000\nnotify: none/pid.9119\nClockID: 1\n";

TEST(TimerListTest, ReadsTheKernelsForm) {
  const std::vector<ListedTimer> timers = parse_timer_list(kList);
  ASSERT_EQ(timers.size(), 3U);
  EXPECT_EQ(timers[0].id, 0);
  EXPECT_EQ(timers[0].notify, SIGEV_NONE);
  EXPECT_EQ(timers[1].signal, SIGALRM);
  EXPECT_EQ(timers[1].notify, SIGEV_SIGNAL);
  EXPECT_EQ(timers[2].value, 0x1234567890U);
  EXPECT_EQ(timers[2].notify, SIGEV_SIGNAL | SIGEV_THREAD_ID);
  EXPECT_EQ(timers[2].target, 9119);
  EXPECT_EQ(timers[2].clock, -72954);
  EXPECT_TRUE(parse_timer_list("").empty());
}

TEST(TimerListTest, RejectsAnyOtherForm) {
  const std::string list = kList;
  for (std::size_t length = 1; length < 20; ++length) EXPECT_THROW(parse_timer_list(list.substr(0, length)), Error);
  EXPECT_THROW(parse_timer_list("ID: 1\nsignal: 14/1\nnotify: carrier-pigeon/pid.1\nClockID: 0\n"), Error);
}

int make_timer(clockid_t clock, int notify, int signal, std::uint64_t value) {
  sigevent event{};
  event.sigev_notify = notify;
  event.sigev_signo = signal;
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(value);
  event._sigev_un._tid = ::gettid();
  int id = -1;
  return ::syscall(SYS_timer_create, clock, &event, &id) == 0 ? id : -1;
}

bool arm(int id, timespec first, timespec interval) {
  const itimerspec setting{.it_interval = interval, .it_value = first};
  return ::syscall(SYS_timer_settime, id, 0, &setting, nullptr) == 0;
}

bool set_up_timers() {
  const itimerval real{.it_interval = {.tv_sec = 7, .tv_usec = 5}, .it_value = {.tv_sec = 1000, .tv_usec = 0}};
  const itimerval virtual_time{.it_interval = {}, .it_value = {.tv_sec = 500, .tv_usec = 0}};
  bool done = ::setitimer(ITIMER_REAL, &real, nullptr) == 0 && ::setitimer(ITIMER_VIRTUAL, &virtual_time, nullptr) == 0;
  const int plain = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0xabcdef0123);  // id 0
  const int gap = make_timer(CLOCK_REALTIME, SIGEV_NONE, 0, 0);                        // id 1
  const int silent = make_timer(CLOCK_REALTIME, SIGEV_NONE, 0, 0);                     // id 2
  const int thread = make_timer(CLOCK_THREAD_CPUTIME_ID, SIGEV_THREAD_ID, 40, 4);      // id 3
  const int process = make_timer(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 41, 5);       // id 4
  done = done && ::syscall(SYS_timer_delete, gap) == 0 && plain == 0 && process == 4;
  return done && arm(plain, {.tv_sec = 3000, .tv_nsec = 0}, {.tv_sec = 60, .tv_nsec = 7}) &&
         arm(silent, {.tv_sec = 4000, .tv_nsec = 0}, {}) && arm(thread, {.tv_sec = 100, .tv_nsec = 0}, {});
}

image::Timers captured_timers(CaptureContext context) {
  image::Timers timers;
  capture_timers(context, timers);
  return timers;
}

class TimersTest : public ::testing::Test {
 protected:
  void SetUp() override { test::prepare_for_tracing(); }
};

TEST_F(TimersTest, CapturesEveryKindOfTimer) {
  const Child child(set_up_timers);
  test::Frozen frozen(child.pid());
  const image::Timers timers = captured_timers(frozen.context());

  ASSERT_EQ(timers.intervals_size(), 2);
  EXPECT_EQ(timers.intervals(0).which(), ITIMER_REAL);
  EXPECT_NEAR(static_cast<double>(timers.intervals(0).remaining().seconds()), 999.0, 1.0);
  EXPECT_EQ(timers.intervals(0).interval().seconds(), 7);
  EXPECT_EQ(timers.intervals(0).interval().nanoseconds(), 5000);
  ASSERT_EQ(timers.timers_size(), 4);
  EXPECT_EQ(timers.timers(0).value(), 0xabcdef0123U);
  EXPECT_EQ(timers.timers(0).interval().nanoseconds(), 7);
  EXPECT_EQ(timers.timers(1).id(), 2);
  EXPECT_EQ(timers.timers(1).notify(), SIGEV_NONE);
  EXPECT_EQ(timers.timers(2).target(), child.pid());
  EXPECT_EQ(timers.timers(2).clock_thread(), child.pid());
  EXPECT_EQ(timers.timers(3).remaining().seconds(), 0);  // not armed
}

// Times as they were, in whole seconds; ids of threads as the image has them.
void make_comparable(image::Timers& timers, pid_t of) {
  for (image::IntervalTimer& timer : *timers.mutable_intervals()) timer.mutable_remaining()->set_nanoseconds(0);
  for (image::PosixTimer& timer : *timers.mutable_timers()) {
    timer.mutable_remaining()->set_nanoseconds(0);
    if (timer.target() == of) timer.set_target(1);
    if (timer.clock_thread() == of) timer.set_clock_thread(1);
  }
}

TEST_F(TimersTest, RestoresWhatWasCaptured) {
  const Child child(set_up_timers);
  test::Frozen frozen(child.pid());
  image::Timers before = captured_timers(frozen.context());
  // The second before which time starts to run again must not end on the way.
  for (image::IntervalTimer& timer : *before.mutable_intervals())
    timer.mutable_remaining()->set_nanoseconds(900'000'000);
  for (image::PosixTimer& timer : *before.mutable_timers()) {
    if (timer.remaining().seconds() != 0) timer.mutable_remaining()->set_nanoseconds(900'000'000);
  }

  test::Restarted restarted([](NewbornContext&) {});
  RestoreContext restoring = restarted.restoring(child.pid());
  restore_timers(restoring, before);
  activate_timers(restoring, before);
  image::Timers after = captured_timers(restarted.capturing());
  make_comparable(before, child.pid());
  make_comparable(after, restarted.pid());
  EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString());
}

TEST_F(TimersTest, ATimerWhoseThreadEndedNotifiesNobody) {
  image::Timers timers;
  image::PosixTimer& timer = *timers.add_timers();
  timer.set_notify(SIGEV_THREAD_ID);
  timer.set_signal(SIGUSR1);
  test::Restarted restarted([](NewbornContext&) {});
  RestoreContext restoring = restarted.restoring(restarted.pid());
  restore_timers(restoring, timers);
  const image::Timers after = captured_timers(restarted.capturing());
  ASSERT_EQ(after.timers_size(), 1);
  EXPECT_EQ(after.timers(0).notify(), SIGEV_NONE);
}

// What is left of a timer with this remaining time if its signal is found pending, long after the timer was captured.
image::Timers after_expiration(std::int64_t remaining_seconds, std::int64_t interval_seconds, bool signal_pending) {
  image::Timers timers;
  image::PosixTimer& timer = *timers.add_timers();
  timer.set_id(7);
  timer.mutable_remaining()->set_seconds(remaining_seconds);
  timer.mutable_remaining()->set_nanoseconds(5);
  timer.mutable_interval()->set_seconds(interval_seconds);
  image::IntervalTimer& real = *timers.add_intervals();
  *real.mutable_remaining() = timer.remaining();
  *real.mutable_interval() = timer.interval();
  siginfo_t info{};
  info.si_signo = SIGUSR1;
  info.si_code = SI_TIMER;
  info.si_timerid = signal_pending ? 7 : 8;
  siginfo_t alarm{};
  alarm.si_signo = SIGALRM;
  alarm.si_code = signal_pending ? SI_KERNEL : SI_USER;
  image::ThreadSignals thread;
  thread.add_pending(std::string(reinterpret_cast<const char*>(&info), sizeof info));
  image::Signals process;
  process.add_pending(std::string(reinterpret_cast<const char*>(&alarm), sizeof alarm));
  account_for_expirations(timers, process, {&thread}, std::chrono::steady_clock::now() - std::chrono::seconds(10));
  return timers;
}

TEST_F(TimersTest, AnExpirationDuringTheCaptureCountsOnce) {
  EXPECT_EQ(after_expiration(5, 0, true).timers(0).remaining().nanoseconds(), 0);
  EXPECT_EQ(after_expiration(5, 0, true).intervals(0).remaining().nanoseconds(), 0);
  EXPECT_EQ(after_expiration(5, 3, true).timers(0).remaining().seconds(), 3);
  EXPECT_EQ(after_expiration(5, 3, true).intervals(0).remaining().seconds(), 5);
  for (const bool periodic : {false, true}) {
    EXPECT_EQ(after_expiration(5, periodic ? 3 : 0, false).timers(0).remaining().seconds(), 5);
    EXPECT_EQ(after_expiration(5, periodic ? 3 : 0, false).intervals(0).remaining().seconds(), 5);
    EXPECT_EQ(after_expiration(15, periodic ? 3 : 0, true).timers(0).remaining().seconds(), 15);
    EXPECT_EQ(after_expiration(15, periodic ? 3 : 0, true).intervals(0).remaining().seconds(), 15);
  }
}

TEST_F(TimersTest, ARestingIntervalTimerRestsAgain) {
  const Child child([] {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    const itimerval often{.it_interval = {.tv_sec = 0, .tv_usec = 1000}, .it_value = {.tv_sec = 0, .tv_usec = 1000}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
    sigset_t pending;
    do {
      ::sigpending(&pending);
    } while (!::sigismember(&pending, SIGALRM));
    return true;
  });
  test::Frozen frozen(child.pid());
  const image::Timers timers = captured_timers(frozen.context());
  ASSERT_EQ(timers.intervals_size(), 1);
  EXPECT_EQ(timers.intervals(0).interval().nanoseconds(), 1'000'000);
  EXPECT_EQ(timers.intervals(0).remaining().nanoseconds(), 1000);
}

TEST_F(TimersTest, RefusesDamagedImages) {
  const RestartOptions options;
  const ContentStore content("/nonexistent");
  std::vector<std::string> notes;
  CheckContext context{.options = options, .content = content, .notes = notes};
  const auto damaged = [&](const std::function<void(image::Timers&)>& spoil) {
    image::Timers timers;
    image::PosixTimer& timer = *timers.add_timers();
    timer.set_signal(SIGUSR1);
    timers.add_intervals();
    EXPECT_NO_THROW(check_timers(context, timers));
    spoil(timers);
    try {
      check_timers(context, timers);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::Damaged;
    }
    return false;
  };
  EXPECT_TRUE(damaged([](image::Timers& timers) { timers.mutable_timers(0)->set_signal(65); }));
  EXPECT_TRUE(damaged([](image::Timers& timers) { timers.mutable_timers(0)->set_id(-1); }));
  EXPECT_TRUE(damaged([](image::Timers& timers) { timers.mutable_timers(0)->set_notify(3); }));
  EXPECT_TRUE(damaged(
      [](image::Timers& timers) { timers.mutable_timers(0)->mutable_remaining()->set_nanoseconds(1'000'000'000); }));
  EXPECT_TRUE(damaged([](image::Timers& timers) { timers.mutable_timers(0)->mutable_interval()->set_seconds(-1); }));
  EXPECT_TRUE(damaged([](image::Timers& timers) { *timers.add_timers() = timers.timers(0); }));  // the same id twice
  EXPECT_TRUE(damaged([](image::Timers& timers) { timers.mutable_intervals(0)->set_which(3); }));
}

}  // namespace
}  // namespace crs::engine
