// What the service does for those who ask from outside: it gives up for askers that have gone, hands on what is not to
// be saved, and tells what a restart said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "crs/error.hpp"
#include "service/world.h"

namespace crs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class AskerTest : public ::testing::Test {
 protected:
  PretendedModule module_;
  Service service_{module_, Capabilities{}, counting_places()};
};

// Holds the turn until it is let go.
class Holding {
 public:
  Holding(Service& service, PretendedModule& module) : module_(module) {
    module.happen = [this] {
      holds_ = true;
      holds_.notify_all();
      released_.wait(false);
      return State::Continue;
    };
    thread_ = std::thread([&service] { service.checkpoint(); });
    holds_.wait(false);
  }
  ~Holding() {
    released_ = true;
    released_.notify_all();
    thread_.join();
    module_.happen = [] { return State::Continue; };
  }
  Holding(const Holding&) = delete;
  Holding& operator=(const Holding&) = delete;

 private:
  PretendedModule& module_;
  std::atomic<bool> holds_ = false;
  std::atomic<bool> released_ = false;
  std::thread thread_;
};

TEST_F(AskerTest, LeavesTheQueueWhenItsTimeIsOver) {
  {
    const Holding holding(service_, module_);
    ServiceCheckpointOptions options;
    options.turn_limit = 20ms;
    std::vector<std::string> stages;
    options.progress = [&](const Progress& progress) { stages.emplace_back(name_of(progress.stage)); };
    EXPECT_THAT([&] { service_.checkpoint(options); },
                ThrowsMessage<Error>(HasSubstr("another checkpoint of this program is still going on")));
    EXPECT_EQ(stages, (std::vector<std::string>{"accepted", "failed"}));
  }
  EXPECT_EQ(service_.checkpoint().reference, "test@2");
}

TEST_F(AskerTest, LeavesTheQueueWhenItHasGone) {
  std::atomic<bool> gone = false;
  std::atomic<bool> refused = false;
  std::thread asker;
  {
    const Holding holding(service_, module_);
    std::atomic<bool> asked = false;
    ServiceCheckpointOptions options;
    options.given_up = [&] {
      asked = true;
      asked.notify_all();
      return gone.load();
    };
    asker = std::thread([this, options, &refused] {
      try {
        service_.checkpoint(options);
      } catch (const Error&) {
        refused = true;
      }
    });
    asked.wait(false);
    gone = true;
    service_.look_again();
    asker.join();
  }
  EXPECT_TRUE(refused);
  EXPECT_EQ(service_.checkpoint().reference, "test@2");
}

TEST_F(AskerTest, NoLongerWaitsForASectionWhenItHasGone) {
  std::atomic<bool> gone = false;
  std::atomic<bool> entered = false;
  std::atomic<bool> leave = false;
  std::thread solver([&] {
    const CriticalSection section(service_.critical_sections());
    entered = true;
    entered.notify_all();
    leave.wait(false);
  });
  entered.wait(false);
  ServiceCheckpointOptions options;
  options.time_limit = 1h;
  options.given_up = [&] { return gone.load(); };
  options.progress = [&](const Progress& progress) {
    if (progress.stage == Progress::Stage::Delayed) gone = true;
  };
  EXPECT_THAT([&] { service_.checkpoint(options); }, ThrowsMessage<Error>(HasSubstr("has gone")));
  leave = true;
  leave.notify_all();
  solver.join();
  EXPECT_EQ(service_.checkpoint().reference, "test@1");
}

TEST_F(AskerTest, OnlyWholePagesAreExcluded) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto at = [](std::uint64_t address) {
    return reinterpret_cast<const void*>(address);  // NOLINT(performance-no-int-to-ptr): never read
  };
  service_.exclude_memory(at(page + 1), 3 * page);
  service_.exclude_memory(at(page + 1), page);  // no whole page
  EXPECT_THROW(service_.exclude_memory(at(page), SIZE_MAX), Error);
  EXPECT_THROW(service_.include_memory(at(page), SIZE_MAX), Error);
  ASSERT_EQ(service_.excluded_memory().size(), 1U);
  EXPECT_EQ(service_.excluded_memory()[0].start, 2 * page);
  EXPECT_EQ(service_.excluded_memory()[0].end, 4 * page);
  service_.include_memory(at(page + 1), 3 * page);
  EXPECT_TRUE(service_.excluded_memory().empty());
}

TEST_F(AskerTest, WithoutARestartTheEnvironmentIsTheProgramsOwn) {
  EXPECT_FALSE(service_.news());
  EXPECT_EQ(service_.environment("PATH"), std::string(std::getenv("PATH")));
  EXPECT_FALSE(service_.environment("CRS_NO_SUCH_VARIABLE"));
}

}  // namespace
}  // namespace crs::testing
