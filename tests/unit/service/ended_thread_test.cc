// A thread that is ended in the middle of a checkpoint, by itself or by another: it ends, the layers hear of it, and
// the next checkpoint finds everything in order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/error.h"
#include "service/world.h"

namespace crs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

class EndedThreadTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "AddressSanitizer does not follow the end of a thread through its frames";
#endif
  }

  class ToldLayer : public Layer {
   public:
    ToldLayer(EndedThreadTest& test, std::string name) : test_(test), name_(std::move(name)) {}
    Answer notify(State state) override {
      test_.told_.push_back(name_ + " " + name_of(state));
      return test_.answer_(name_, state);
    }

   private:
    EndedThreadTest& test_;
    std::string name_;
  };

  // What a thread does that asks for a checkpoint with the options; true if it was ended and did not return.
  struct Thread {
    static void* run(void* test) {
      auto& self = *static_cast<EndedThreadTest*>(test);
      try {
        self.service_.checkpoint(self.options_);
      } catch (const std::exception&) {
      }
      self.returned_ = true;
      return nullptr;
    }
    static void* run_and_go_on(void* test) {
      run(test);
      ::pthread_testcancel();
      static_cast<EndedThreadTest*>(test)->outlived_ = true;
      return nullptr;
    }
  };
  bool is_ended(const std::function<void(pthread_t)>& meanwhile = {}) {
    returned_ = false;
    pthread_t thread{};
    EXPECT_EQ(::pthread_create(&thread, nullptr, Thread::run, this), 0);
    if (meanwhile) meanwhile(thread);
    ::pthread_join(thread, nullptr);
    return !returned_;
  }
  void expect_order() {
    answer_ = [](const std::string&, State) { return Answer::Done; };
    options_ = {};
    told_.clear();
    EXPECT_EQ(service_.state(), State::Running);
    service_.checkpoint();
    EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "lower continue", "upper continue"));
  }
  static std::function<Answer(const std::string&, State)> ending_in(std::string where, State at) {
    return [where = std::move(where), at](const std::string& name, State state) {
      if (name == where && state == at) ::pthread_exit(nullptr);
      return Answer::Done;
    };
  }

  PretendedModule module_;
  Service service_{module_, Capabilities{}, counting_places()};
  std::vector<std::string> told_;
  std::function<Answer(const std::string&, State)> answer_ = [](const std::string&, State) { return Answer::Done; };
  ServiceCheckpointOptions options_;
  std::atomic<bool> returned_ = false;
  std::atomic<bool> outlived_ = false;
  ToldLayer lower_{*this, "lower"};
  ToldLayer upper_{*this, "upper"};
  LayerRegistration lower_registration_ = service_.register_layer("lower", lower_);
  LayerRegistration upper_registration_ = service_.register_layer("upper", upper_);
};

TEST_F(EndedThreadTest, ByALayerThatIsAskedToGetReady) {
  answer_ = ending_in("lower", State::Checkpoint);
  EXPECT_TRUE(is_ended());
  EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "upper error"));
  expect_order();
}

TEST_F(EndedThreadTest, ByALayerThatIsToGoOn) {
  answer_ = ending_in("lower", State::Continue);
  EXPECT_TRUE(is_ended());
  EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "lower continue", "upper continue"));
  expect_order();
}

TEST_F(EndedThreadTest, ByItsComponent) {
  module_.happen = []() -> State { ::pthread_exit(nullptr); };
  EXPECT_TRUE(is_ended());
  EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "lower error", "upper error"));
  module_.happen = [] { return State::Continue; };
  expect_order();
}

TEST_F(EndedThreadTest, ByALayerThatIsToldOfAnothersFailure) {
  answer_ = [](const std::string& name, State state) {
    if (name == "lower" && state == State::Checkpoint) throw Error(ErrorKind::Failed, "it does not want to");
    if (name == "upper" && state == State::Error) ::pthread_exit(nullptr);
    return Answer::Done;
  };
  EXPECT_TRUE(is_ended());
  EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "upper error"));
  expect_order();
}

TEST_F(EndedThreadTest, ByALayerThatIsToldOfTheComponentsFailure) {
  module_.happen = []() -> State { throw Error(ErrorKind::Failed, "it cannot"); };
  answer_ = ending_in("lower", State::Error);
  EXPECT_TRUE(is_ended());
  EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "lower error", "upper error"));
  module_.happen = [] { return State::Continue; };
  expect_order();
}

// It is cancelled when the checkpoint is over: descriptors are closed and layers told by calls at which it could be.
TEST_F(EndedThreadTest, ByAnotherThreadAfterItsCheckpointThatGoesOn) {
  std::atomic<bool> works = false;
  std::atomic<bool> go_on = false;
  module_.happen = [&] {
    works = true;
    works.notify_all();
    go_on.wait(false);
    ::close(::dup(STDOUT_FILENO));
    return State::Continue;
  };
  returned_ = false;
  pthread_t thread{};
  ASSERT_EQ(::pthread_create(&thread, nullptr, Thread::run_and_go_on, this), 0);
  works.wait(false);
  ::pthread_cancel(thread);
  go_on = true;
  go_on.notify_all();
  ::pthread_join(thread, nullptr);
  EXPECT_TRUE(returned_ && !outlived_);
  EXPECT_THAT(told_, ElementsAre("upper checkpoint", "lower checkpoint", "lower continue", "upper continue"));
  module_.happen = [] { return State::Continue; };
  expect_order();
}

TEST_F(EndedThreadTest, ByAnotherThreadWhileItWaitsForALayer) {
  std::atomic<bool> waits = false;
  answer_ = [&](const std::string& name, State state) {
    if (name == "upper" || state != State::Checkpoint) return Answer::Done;
    waits = true;
    waits.notify_all();
    return Answer::NotYet;
  };
  EXPECT_TRUE(is_ended([&](pthread_t thread) {
    waits.wait(false);
    ::pthread_cancel(thread);
  }));
  EXPECT_EQ(told_.back(), "upper error");
  expect_order();
}

TEST_F(EndedThreadTest, ByAnotherThreadWhileItWaitsForASection) {
  std::atomic<bool> entered = false;
  std::atomic<bool> delayed = false;
  std::atomic<bool> leave = false;
  std::thread solver([&] {
    const CriticalSection section(service_.critical_sections());
    entered = true;
    entered.notify_all();
    leave.wait(false);
  });
  entered.wait(false);
  options_.progress = [&](const Progress& progress) {
    if (progress.stage == Progress::Stage::Delayed) delayed = true;
    delayed.notify_all();
  };
  EXPECT_TRUE(is_ended([&](pthread_t thread) {
    delayed.wait(false);
    ::pthread_cancel(thread);
  }));
  leave = true;
  leave.notify_all();
  solver.join();
  EXPECT_TRUE(told_.empty());
  expect_order();
}

// The runtime could not unwind it: it ends when it has handled its exception.
TEST_F(EndedThreadTest, ByAnotherThreadWhileItHandlesAnException) {
  std::atomic<bool> waits = false;
  std::atomic<bool> is_ready = false;
  answer_ = [&](const std::string& name, State state) {
    if (name == "upper" || state != State::Checkpoint || is_ready) return Answer::Done;
    waits = true;
    waits.notify_all();
    return Answer::NotYet;
  };
  const auto run = [](void* test) -> void* {
    try {
      throw Error(ErrorKind::Failed, "something else");
    } catch (const Error&) {
      Thread::run(test);
    }
    return nullptr;
  };
  pthread_t thread{};
  ASSERT_EQ(::pthread_create(&thread, nullptr, run, this), 0);
  waits.wait(false);
  ::pthread_cancel(thread);
  std::this_thread::sleep_for(100ms);
  is_ready = true;
  service_.ask_again();
  ::pthread_join(thread, nullptr);
  EXPECT_TRUE(returned_);
  EXPECT_EQ(told_.back(), "upper continue");
  expect_order();
}

TEST_F(EndedThreadTest, ByWhoeverIsToldOfItsFailure) {
  module_.happen = []() -> State { throw Error(ErrorKind::Failed, "it cannot"); };
  options_.progress = [](const Progress& progress) {
    if (progress.stage == Progress::Stage::Failed) ::pthread_exit(nullptr);
  };
  EXPECT_TRUE(is_ended());
  module_.happen = [] { return State::Continue; };
  expect_order();
}

TEST_F(EndedThreadTest, AmongThoseThatWaitForTheirTurn) {
  std::atomic<bool> holds = false;
  std::atomic<bool> release = false;
  module_.happen = [&] {
    holds = true;
    holds.notify_all();
    release.wait(false);
    return State::Continue;
  };
  std::thread holder([&] { service_.checkpoint(); });
  holds.wait(false);
  std::atomic<bool> waits = false;
  options_.given_up = [&] {
    waits = true;
    waits.notify_all();
    return false;
  };
  EXPECT_TRUE(is_ended([&](pthread_t thread) {
    waits.wait(false);
    ::pthread_cancel(thread);
  }));
  release = true;
  release.notify_all();
  holder.join();
  module_.happen = [] { return State::Continue; };
  expect_order();
}

}  // namespace
}  // namespace crs::testing
