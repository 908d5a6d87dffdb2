// eventfd, timerfd, signalfd, epoll, pidfd.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "descriptors/round_trip.h"

namespace crs::engine::testing {
namespace {

std::uint64_t read_count(int descriptor) {
  std::uint64_t count = 0;
  require(::read(descriptor, &count, sizeof count) == sizeof count, "read a count");
  return count;
}

void add_watch(int epoll, int number, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  require(::epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event) == 0, "epoll_ctl");
}

// The data of every event that is there now, in one call, ascending.
std::vector<std::uint64_t> events_of(int epoll) {
  std::array<epoll_event, 32> events{};
  const int count = ::epoll_wait(epoll, events.data(), events.size(), 0);
  require(count >= 0, "epoll_wait");
  std::vector<std::uint64_t> data;
  for (int i = 0; i < count; ++i) data.push_back(events[static_cast<std::size_t>(i)].data.u64);
  std::ranges::sort(data);
  return data;
}

using Data = std::vector<std::uint64_t>;

class Events : public ::testing::Test {
 protected:
  RoundTrip trip;
};

TEST_F(Events, EventfdsKeepCountAndMode) {
  trip.carry(
      [] {
        require(::eventfd(7, EFD_SEMAPHORE | EFD_NONBLOCK) == 0 && ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) == 1,
                "eventfd");
        const std::uint64_t big = std::uint64_t{1} << 40;
        require(::eventfd(0, 0) == 2 && ::write(2, &big, sizeof big) == sizeof big, "eventfd");
        require(::dup(0) == 3, "dup");
      },
      [] {
        require(read_count(0) == 1 && read_count(3) == 1, "semaphore");
        std::uint64_t count = 0;
        require(::read(1, &count, sizeof count) < 0 && errno == EAGAIN && ::fcntl(1, F_GETFD) == FD_CLOEXEC, "empty");
        require(read_count(2) == std::uint64_t{1} << 40 && (::fcntl(2, F_GETFL) & O_NONBLOCK) == 0, "large");
      });
}

TEST_F(Events, SignalfdsKeepTheirMask) {
  trip.carry(
      [] {
        sigset_t mask;
        ::sigemptyset(&mask);
        ::sigaddset(&mask, SIGUSR1);
        ::sigaddset(&mask, SIGRTMAX);
        require(::signalfd(-1, &mask, SFD_NONBLOCK) == 0, "signalfd");
      },
      [] {
        ::raise(SIGUSR2);
        ::raise(SIGRTMAX);
        signalfd_siginfo info{};
        require(::read(0, &info, sizeof info) == sizeof info && info.ssi_signo == static_cast<unsigned>(SIGRTMAX),
                "the one in the mask");
        require(::read(0, &info, sizeof info) < 0 && errno == EAGAIN, "and no other");
      });
}

TEST_F(Events, TimerfdsKeepRemainingTimeIntervalAndTicks) {
  trip.carry(
      [] {
        require(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK) == 0, "not running");
        const itimerspec running{{7, 5}, {1000, 0}};
        require(::timerfd_create(CLOCK_BOOTTIME, 0) == 1 && ::timerfd_settime(1, 0, &running, nullptr) == 0, "running");
        const itimerspec soon{{0, 0}, {0, 1}};
        require(::timerfd_create(CLOCK_MONOTONIC, 0) == 2 && ::timerfd_settime(2, 0, &soon, nullptr) == 0, "expired");
        const itimerspec often{{0, 1'000'000}, {0, 1}};
        require(::timerfd_create(CLOCK_MONOTONIC, 0) == 3 && ::timerfd_settime(3, 0, &often, nullptr) == 0, "periodic");
        timespec now{};
        ::clock_gettime(CLOCK_REALTIME, &now);
        const itimerspec date{{0, 0}, {now.tv_sec + 500, 0}};
        require(
            ::timerfd_create(CLOCK_REALTIME, 0) == 4 && ::timerfd_settime(4, TFD_TIMER_ABSTIME, &date, nullptr) == 0,
            "date");
        std::array<pollfd, 2> both{{{2, POLLIN, 0}, {3, POLLIN, 0}}};
        require(::poll(&both[0], 1, -1) == 1 && ::poll(&both[1], 1, -1) == 1, "poll");
      },
      [] {
        itimerspec value{};
        require(::timerfd_gettime(0, &value) == 0 && value.it_value.tv_sec == 0 && value.it_value.tv_nsec == 0,
                "not running");
        require(::timerfd_gettime(1, &value) == 0 && value.it_value.tv_sec <= 1000 && value.it_value.tv_sec > 950,
                "remaining");
        require(value.it_interval.tv_sec == 7 && value.it_interval.tv_nsec == 5, "interval");
        require(read_count(2) == 1, "a tick");
        require(::timerfd_gettime(2, &value) == 0 && value.it_value.tv_sec == 0 && value.it_value.tv_nsec == 0,
                "only one");
        require(read_count(3) >= 1 && read_count(3) >= 1, "ticks go on");
        require(::timerfd_gettime(4, &value) == 0 && value.it_value.tv_sec <= 500 && value.it_value.tv_sec > 450,
                "date");
      });
  // The date is kept as such: it does not move with the time that the snapshot lies there.
  EXPECT_NE(trip.image.descriptions(4).timerfd().deadline(), 0U);
  EXPECT_EQ(trip.image.descriptions(1).timerfd().deadline(), 0U);
}

TEST_F(Events, EpollKeepsWatches) {
  trip.carry(
      [] {
        require(::epoll_create1(EPOLL_CLOEXEC) == 0, "epoll");
        require(::eventfd(1, 0) == 1 && ::eventfd(0, 0) == 2 && ::eventfd(1, 0) == 3, "eventfd");
        add_watch(0, 1, EPOLLIN, 0xdeadbeefcafe);
        add_watch(0, 2, EPOLLIN, 2);
        add_watch(0, 3, EPOLLIN | EPOLLET, 3);
      },
      [] {
        require(events_of(0) == Data{3, 0xdeadbeefcafe}, "level and edge");
        require(events_of(0) == Data{0xdeadbeefcafe}, "edge once");
        const std::uint64_t one = 1;
        require(::write(2, &one, sizeof one) == sizeof one && events_of(0) == Data{2, 0xdeadbeefcafe}, "a new event");
        epoll_event event{EPOLLOUT, {}};
        require(::epoll_ctl(0, EPOLL_CTL_MOD, 1, &event) == 0 && ::epoll_ctl(0, EPOLL_CTL_DEL, 2, nullptr) == 0,
                "by their numbers");
        require(::fcntl(0, F_GETFD) == FD_CLOEXEC, "close-on-exec");
      });
}

TEST_F(Events, OneShotThatHasFiredStaysSilentUntilArmedAgain) {
  trip.carry(
      [] {
        require(::epoll_create1(0) == 0 && ::eventfd(1, 0) == 1 && ::eventfd(1, 0) == 2 &&
                    ::timerfd_create(CLOCK_MONOTONIC, 0) == 3,
                "make");
        add_watch(0, 1, EPOLLIN | EPOLLONESHOT, 1);
        require(events_of(0) == Data{1}, "fires");
        add_watch(0, 2, EPOLLIN | EPOLLONESHOT, 2);
        // One whose file is not ready for anything.
        add_watch(0, 3, EPOLLONESHOT, 3);
      },
      [] {
        require(events_of(0) == Data{2}, "only the one that has not fired");
        const std::uint64_t one = 1;
        require(::write(1, &one, sizeof one) == sizeof one && events_of(0).empty(), "silent");
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = 5;
        require(::epoll_ctl(0, EPOLL_CTL_MOD, 1, &event) == 0 && events_of(0) == Data{5}, "armed again");
      });
}

TEST_F(Events, EpollKeepsNestingAndNumbersThatMoved) {
  trip.carry(
      [] {
        require(::epoll_create1(0) == 0 && ::epoll_create1(0) == 1, "epoll");
        require(::eventfd(1, 0) == 2 && ::eventfd(1, 0) == 3 && ::eventfd(0, 0) == 4, "eventfd");
        add_watch(1, 2, EPOLLIN, 12);
        add_watch(0, 1, EPOLLIN, 1);
        // Watched under 3, moved to 20, and 3 is another one now, which is watched as well.
        add_watch(0, 3, EPOLLIN, 3);
        require(::dup2(3, 20) == 20 && ::dup2(4, 3) == 3, "dup");
        add_watch(0, 3, EPOLLIN, 33);
        // Watched under 21, which is closed.
        require(::dup2(2, 21) == 21, "dup");
        add_watch(0, 21, EPOLLIN, 21);
        require(::close(21) == 0, "close");
      },
      [] {
        require(events_of(0) == Data{1, 3, 21}, "outer");
        require(events_of(1) == Data{12}, "inner");
        const std::uint64_t one = 1;
        require(::write(4, &one, sizeof one) == sizeof one && events_of(0) == Data{1, 3, 21, 33}, "the one at 3 now");
        require(::fcntl(21, F_GETFD) < 0, "21 stays closed");
        require(read_count(20) == 1 && events_of(0) == Data{1, 21, 33}, "the one at 20");
        require(::epoll_ctl(0, EPOLL_CTL_DEL, 3, nullptr) == 0 && events_of(0) == Data{1, 21},
                "removed by file and number");
        require(::dup2(2, 21) == 21 && ::epoll_ctl(0, EPOLL_CTL_DEL, 21, nullptr) == 0, "registered as 21");
      });
}

TEST_F(Events, EpollOfAFileThatOnlyAnotherProcessHasIsRefused) {
  try {
    trip.capture([] {
      require(::epoll_create1(0) == 0 && ::eventfd(0, 0) == 1, "make");
      add_watch(0, 1, EPOLLIN, 1);
      // A child keeps the eventfd open.
      const pid_t parent = ::getpid();
      if (::fork() == 0) {
        while (::getppid() == parent) ::usleep(1000);
        ::_exit(0);
      }
      require(::close(1) == 0, "close");
    });
    FAIL() << "was captured";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Refused);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("watches a file registered as descriptor 1"));
  }
}

TEST_F(Events, PidfdOfItself) {
  trip.carry([] { require(::syscall(SYS_pidfd_open, ::getpid(), 0) == 0, "pidfd"); },
             [] {
               require(::syscall(SYS_pidfd_send_signal, 0, SIGUSR1, nullptr, 0) == 0, "send");
               sigset_t pending;
               require(::sigpending(&pending) == 0 && ::sigismember(&pending, SIGUSR1) == 1, "to itself");
             });
}

}  // namespace
}  // namespace crs::engine::testing
