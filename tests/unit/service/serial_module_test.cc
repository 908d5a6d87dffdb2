#include "service/serial_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "crs/error.hpp"
#include "service/world.h"

namespace crs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Notes when two threads are in it at once.
class CountingModule : public PretendedModule {
 public:
  void prelaunch(LaunchPlan& /*plan*/) override {
    if (++inside_ > 1) overlapped = true;
    std::this_thread::yield();
    if (const auto once = std::exchange(within, {})) once();
    --inside_;
  }
  std::atomic<bool> overlapped = false;
  std::function<void()> within;  // called once

 private:
  std::atomic<int> inside_ = 0;
};

class SerialModuleTest : public ::testing::Test {
 protected:
  void use(int times) {
    LaunchPlan plan;
    for (int i = 0; i < times; ++i) serial_.prelaunch(plan);
  }

  CountingModule module_;
  SerialModule serial_{module_, "test", 200ms};
};

TEST_F(SerialModuleTest, LetsInOneThreadAtATime) {
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([this] { use(500); });
  }
  EXPECT_FALSE(module_.overlapped);
}

TEST_F(SerialModuleTest, WaitsNoLongerThanWasSaid) {
  std::promise<void> entered;
  std::promise<void> leave;
  module_.within = [&] {
    entered.set_value();
    leave.get_future().wait();
  };
  std::thread other([this] { use(1); });
  entered.get_future().wait();
  EXPECT_THAT([this] { use(1); },
              ThrowsMessage<Error>(HasSubstr("component test is still at work for another thread")));
  // What any thread may call at any time.
  serial_.disable_checkpoint();
  serial_.enable_checkpoint();
  serial_.register_thread();
  leave.set_value();
  other.join();
  use(1);
}

// A function of the program's that the component calls.
TEST_F(SerialModuleTest, LetsAThreadInAgain) {
  module_.within = [this] {
    LaunchPlan plan;
    serial_.prelaunch(plan);
  };
  use(1);
}

// With one thread in an operation and another waiting for it, neither of which the child has.
TEST_F(SerialModuleTest, WaitsForNobodyInAForkedProcess) {
  std::promise<void> entered;
  std::promise<void> leave;
  auto serial = std::make_unique<SerialModule>(module_, "test", 10s);
  const auto use_it = [&] {
    LaunchPlan plan;
    serial->prelaunch(plan);
  };
  module_.within = [&] {
    entered.set_value();
    leave.get_future().wait();
  };
  std::thread at_work(use_it);
  entered.get_future().wait();
  std::thread waits(use_it);
  std::this_thread::sleep_for(50ms);  // it may wait by then; nothing depends on it
  const pid_t child = ::fork();
  if (child == 0) {
    for (int i = 0; i < 20; ++i) {
      std::jthread other(use_it);
      use_it();
    }
    serial.reset();
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  leave.set_value();
  at_work.join();
  waits.join();
}

// The child comes out of the operation that its parent began.
TEST_F(SerialModuleTest, MayBeForkedInTheMiddleOfAnOperation) {
  pid_t child = -1;
  module_.within = [&] {
    child = ::fork();
    if (child == 0) use(1);
  };
  use(1);
  if (child == 0) {
    std::jthread([this] { use(1); }).join();
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace crs::testing
