#include "service/serial_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

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
    if (within) within();
    --inside_;
  }
  std::atomic<bool> overlapped = false;
  std::function<void()> within;

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
  module_.within = {};
  use(1);
}

// A function of the program's that the component calls.
TEST_F(SerialModuleTest, LetsAThreadInAgain) {
  module_.within = [this] {
    module_.within = {};
    LaunchPlan plan;
    serial_.prelaunch(plan);
  };
  use(1);
}

TEST_F(SerialModuleTest, WaitsForNobodyInAForkedProcess) {
  int status = -1;
  module_.within = [&] {
    module_.within = {};
    std::thread([&] {
      const pid_t child = ::fork();
      if (child == 0) {
        use(1);
        ::_exit(0);
      }
      ::waitpid(child, &status, 0);
    }).join();
  };
  use(1);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace crs::testing
