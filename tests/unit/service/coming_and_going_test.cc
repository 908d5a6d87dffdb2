// Layers that register and unregister, also while a checkpoint is under way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "crs/error.hpp"
#include "service/service_fixture.h"

namespace crs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST_F(ServiceTest, LeavesOutALayerThatUnregistered) {
  registrations_.erase(registrations_.begin() + 1);
  service_.checkpoint();
  EXPECT_THAT(told_, ElementsAre("high checkpoint", "low checkpoint", "low continue", "high continue"));
  EXPECT_THAT(service_.layers(), ElementsAre("low", "high"));
}

TEST_F(ServiceTest, LetsALayerTakeItselfOutWhileItIsTold) {
  middle_.answer = [&](State state) {
    if (state == State::Checkpoint) registrations_[1] = LayerRegistration();
    return Answer::Done;
  };
  service_.checkpoint();
  EXPECT_THAT(told_,
              ElementsAre("high checkpoint", "middle checkpoint", "low checkpoint", "low continue", "high continue"));
}

// One more layer than the fixture's, which is registered when the highest of those is told of a checkpoint.
class LateLayerTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    high_.answer = [&](State state) {
      if (state == State::Checkpoint && registration_.empty())
        registration_.push_back(service_.register_layer("late", late_));
      return Answer::Done;
    };
  }

  NotingLayer late_{"late", told_};
  std::vector<LayerRegistration> registration_;
};

TEST_F(LateLayerTest, TakesPartFromTheNextTimeOn) {
  service_.checkpoint();
  EXPECT_EQ(told_.size(), 6U);
  told_.clear();
  service_.checkpoint();
  EXPECT_EQ(told_.front(), "late checkpoint");
}

TEST_F(LateLayerTest, IsInTheSnapshotAndHearsOfItsRestart) {
  end_in(State::Restart);
  service_.checkpoint();
  EXPECT_THAT(std::vector<std::string>(told_.begin() + 3, told_.end()),
              ElementsAre("late restart-pre", "high restart-pre", "middle restart-pre", "low restart-pre",
                          "low restart", "middle restart", "high restart", "late restart"));
}

TEST_F(LateLayerTest, HearsThatTheProgramEnds) {
  end_in(State::Term);
  service_.checkpoint(options_);
  EXPECT_THAT(std::vector<std::string>(told_.begin() + 3, told_.end()),
              ElementsAre("low term", "middle term", "high term", "late term"));
}

TEST_F(LateLayerTest, HearsThatTheProgramEndsAlsoWhereItComesMeanwhile) {
  end_in(State::Term);
  high_.answer = [&](State state) {
    if (state == State::Term) registration_.push_back(service_.register_layer("late", late_));
    return Answer::Done;
  };
  service_.checkpoint(options_);
  EXPECT_THAT(std::vector<std::string>(told_.begin() + 3, told_.end()),
              ElementsAre("low term", "middle term", "high term", "late term"));
}

std::vector<std::string> names_of(const std::vector<LayerTime>& times) {
  std::vector<std::string> names;
  for (const LayerTime& time : times) names.push_back(time.layer + " " + name_of(time.state));
  return names;
}

// Two of one name, one asked again, one that is taken out before it would have gone on.
TEST_F(ServiceTest, NotesTheTimesOfEachLayerThatWasTold) {
  NotingLayer namesake("high", told_);
  const LayerRegistration registration = service_.register_layer("high", namesake);
  int asked = 0;
  high_.answer = [&](State state) {
    if (state == State::Checkpoint && ++asked < 3) return Answer::NotYet;
    if (state == State::Checkpoint) registrations_[1] = LayerRegistration();
    return Answer::Done;
  };
  EXPECT_THAT(names_of(service_.checkpoint().layers),
              ElementsAre("high checkpoint", "high checkpoint", "low checkpoint", "low continue", "high continue",
                          "high continue"));
}

TEST_F(ServiceTest, RefusesALayerWhoseNameIsTooLong) {
  EXPECT_THAT([&] { static_cast<void>(service_.register_layer(std::string(1001, 'x'), low_)); },
              ThrowsMessage<Error>(HasSubstr("has 1001 bytes")));
  EXPECT_EQ(service_.layers().size(), 3U);
}

TEST_F(ServiceTest, WaitsWithTheEndOfALayerUntilItHasBeenTold) {
  std::promise<void> telling;
  std::promise<void> go_on;
  std::atomic<bool> told = false;
  middle_.answer = [&](State state) {
    if (state == State::Checkpoint) {
      telling.set_value();
      go_on.get_future().wait();
      told = true;
    }
    return Answer::Done;
  };
  auto asker = std::async(std::launch::async, [&] { service_.checkpoint(); });
  telling.get_future().wait();
  auto remover = std::async(std::launch::async, [&] {
    registrations_[1] = LayerRegistration();
    return told.load();
  });
  go_on.set_value();
  EXPECT_TRUE(remover.get());
  asker.get();
}

// Whoever waits for a layer that does not return hears of that, and everything is as before.
TEST_F(ServiceTest, WaitsForALayerThatDoesNotReturnNoLongerThanWasSaid) {
  std::promise<void> telling;
  std::promise<void> go_on;
  middle_.answer = [&](State state) {
    if (state == State::Checkpoint) {
      telling.set_value();
      go_on.get_future().wait();
    }
    return Answer::Done;
  };
  service_.limit_waits(50ms);
  auto asker = std::async(std::launch::async, [&] { service_.checkpoint(); });
  telling.get_future().wait();
  EXPECT_THAT([&] { registrations_[1].unregister(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("has not returned within 0.05 s"), HasSubstr("crs_wait_limit"))));
  EXPECT_THAT([&] { service_.end(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("a checkpoint is under way (state checkpoint)"),
                                         HasSubstr("not over after 0.05 s"), HasSubstr("crs_wait_limit"))));
  go_on.set_value();
  asker.get();
  EXPECT_EQ(service_.layers(), (std::vector<std::string>{"low", "middle", "high"}));
  middle_.answer = nullptr;
  service_.checkpoint();
  registrations_[1].unregister();
  EXPECT_EQ(service_.layers(), (std::vector<std::string>{"low", "high"}));
  registrations_[1].unregister();  // nothing any more
  service_.end();
}

// A child's ordinary end runs the destructors of static objects, registrations among them.
TEST_F(ServiceTest, DoesNotWaitInAForkedChildForWhatTheParentsThreadTells) {
  std::promise<void> telling;
  std::promise<void> go_on;
  middle_.answer = [&](State state) {
    if (state == State::Checkpoint) {
      telling.set_value();
      go_on.get_future().wait();
    }
    return Answer::Done;
  };
  auto asker = std::async(std::launch::async, [&] { service_.checkpoint(); });
  telling.get_future().wait();
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    registrations_.clear();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  go_on.set_value();
  asker.get();
}

}  // namespace
}  // namespace crs::testing
