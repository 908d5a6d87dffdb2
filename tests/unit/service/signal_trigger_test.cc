// A signal as the trigger: each delivery counts once, and nothing of the program's is taken.
#include "service/signal_trigger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "base/error.h"
#include "base/signal_name.h"

namespace crs {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class SignalTriggerTest : public ::testing::Test {
 protected:
  void TearDown() override { ::signal(SIGUSR1, SIG_DFL); }
  void act() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_ == count; })) << count_;
  }
  static void (*handler())(int) {
    struct sigaction action{};
    ::sigaction(SIGUSR1, nullptr, &action);
    return action.sa_handler;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

void nothing(int /*signal*/) {}

TEST_F(SignalTriggerTest, ActsOnceForEachDeliveryAndGivesTheSignalBack) {
  {
    const SignalTrigger trigger(SIGUSR1, [this] { act(); });
    for (int count = 1; count <= 3; ++count) {
      ::raise(SIGUSR1);
      wait_for(count);
    }
    EXPECT_THAT([] { const SignalTrigger second(SIGUSR2, [] {}); }, ThrowsMessage<Error>(HasSubstr("already")));
  }
  EXPECT_EQ(handler(), SIG_DFL);
  const SignalTrigger again(SIGUSR1, [this] { act(); });
  ::raise(SIGUSR1);
  wait_for(4);
}

TEST_F(SignalTriggerTest, LeavesAHandlerOfTheProgramsAlone) {
  ::signal(SIGUSR1, nothing);
  EXPECT_THAT([] { const SignalTrigger trigger(SIGUSR1, [] {}); },
              ThrowsMessage<Error>(HasSubstr("the program has a handler for SIGUSR1 itself")));
  EXPECT_EQ(handler(), nothing);
  {
    ::signal(SIGUSR1, SIG_DFL);
    const SignalTrigger trigger(SIGUSR1, [] {});
    ::signal(SIGUSR1, nothing);
  }
  EXPECT_EQ(handler(), nothing) << "one that came later";
}

TEST_F(SignalTriggerTest, AForkedChildHasTheActionOfBefore) {
  const SignalTrigger trigger(SIGUSR1, [] {});
  const pid_t child = ::fork();
  if (child == 0) {
    ::raise(SIGUSR1);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1) << status;
  const pid_t other = ::fork();
  if (other == 0) {
    std::mutex mutex;
    mutex.lock();
    const SignalTrigger own(SIGUSR1, [&] { mutex.unlock(); });
    ::raise(SIGUSR1);
    mutex.lock();
    ::_exit(7);
  }
  ::waitpid(other, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(SignalName, IsReadInEveryForm) {
  for (const char* text : {"USR1", "SIGUSR1", "usr1", "10"}) EXPECT_EQ(parse_signal(text), SIGUSR1) << text;
  EXPECT_EQ(name_of_signal(SIGUSR1), "SIGUSR1");
  for (const char* text : {"", "SIG", "KILL", "9", "0", "65", "10x", "USR3"})
    EXPECT_THROW(parse_signal(text), Error) << text;
}

TEST_F(SignalTriggerTest, RefusesASignalThatIsNoRequest) {
  for (const int signal : {SIGSEGV, SIGKILL, SIGSTOP, SIGABRT}) {
    EXPECT_THAT([&] { SignalTrigger(signal, [] {}); }, ThrowsMessage<Error>(HasSubstr("cannot ask for a checkpoint")));
  }
  const SignalTrigger fit(SIGUSR1, [] {});
}

}  // namespace
}  // namespace crs
