#include "crs/service.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "crs/error.hpp"
#include "service/service_fixture.h"
#include "service/world.h"

namespace crs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

// Stores nothing, and says that it is test@1.
class Nowhere : public SnapshotPlace, public SnapshotSink {
 public:
  SnapshotSink& sink() override { return *this; }
  std::string reference() const override { return "test@1"; }
  const std::string& location() const override { return nowhere_; }
  void commit(const SnapshotContents& /*contents*/) override {}

 private:
  std::string nowhere_;
};

TEST_F(ServiceTest, GoesDownAndUpAndReturnsTheReference) {
  const Checkpointed outcome = service_.checkpoint();
  EXPECT_EQ(outcome.state, State::Continue);
  EXPECT_EQ(outcome.reference, "test@1");
  EXPECT_THAT(told_, ElementsAre("high checkpoint", "middle checkpoint", "low checkpoint", "low continue",
                                 "middle continue", "high continue"));
  ASSERT_EQ(outcome.layers.size(), 6U);
  EXPECT_EQ(outcome.layers[0].layer, "high");
  EXPECT_EQ(outcome.layers[5].state, State::Continue);
  EXPECT_EQ(service_.state(), State::Running);
}

TEST_F(ServiceTest, ReleasesDownwardsAndAcquiresUpwardsAfterARestart) {
  end_in(State::Restart);
  EXPECT_EQ(service_.checkpoint().state, State::Restart);
  EXPECT_THAT(std::vector<std::string>(told_.begin() + 3, told_.end()),
              ElementsAre("high restart-pre", "middle restart-pre", "low restart-pre", "low restart", "middle restart",
                          "high restart"));
}

TEST_F(ServiceTest, TellsTheLayersThatTheProgramEnds) {
  end_in(State::Term);
  EXPECT_EQ(service_.checkpoint(options_).state, State::Term);
  EXPECT_THAT(std::vector<std::string>(told_.begin() + 3, told_.end()),
              ElementsAre("low term", "middle term", "high term"));
}

TEST_F(ServiceTest, EndsNoProgramThatIsToGoOnWhateverItsComponentSays) {
  end_in(State::Term);
  EXPECT_THAT([&] { service_.checkpoint(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("which nobody asked for"), HasSubstr("after the snapshot test@"))));
  EXPECT_EQ(told_.back(), "high continue");
}

TEST_F(ServiceTest, SaysThatAProgramGoesOnThatWasToEnd) {
  options_.after = AfterCheckpoint::Kill;
  EXPECT_THAT([&] { service_.checkpoint(options_); }, ThrowsMessage<Error>(HasSubstr("has let the program go on")));
  EXPECT_EQ(told_.back(), "high continue");
  low_.answer = [](State state) {
    if (state == State::Continue) throw Error(ErrorKind::Failed, "its own trouble");
    return Answer::Done;
  };
  EXPECT_THAT(
      [&] { service_.checkpoint(options_); },
      ThrowsMessage<Error>(AllOf(::testing::StartsWith("its own trouble"), HasSubstr("has let the program go on"))));
}

// A component that stores nothing, on somebody else's wish to have the program ended or stopped.
TEST_F(ServiceTest, DoesNotEndOrStopAProgramForSomebodyElseWithoutASnapshot) {
  class NoPlace : public Nowhere {
   public:
    std::string reference() const override { return ""; }
    void stop_when_finished() override { FAIL() << "it is stopped"; }
    void end_process() override { FAIL() << "it is ended"; }
  };
  for (const AfterCheckpoint after : {AfterCheckpoint::Kill, AfterCheckpoint::Stop}) {
    told_.clear();
    end_in(after == AfterCheckpoint::Kill ? State::Term : State::Continue);
    ServiceCheckpointOptions options;
    options.after = after;
    options.make_place = [] { return std::make_unique<NoPlace>(); };
    EXPECT_THAT([&] { service_.checkpoint(options); }, ThrowsMessage<Error>(HasSubstr("stored no snapshot")));
    EXPECT_THAT(told_, ElementsAre("high checkpoint", "middle checkpoint", "low checkpoint", "low error",
                                   "middle error", "high error"));
  }
}

TEST_F(ServiceTest, HasAProgramStoppedWhenItsLayersHaveGoneOn) {
  class Place : public Nowhere {
   public:
    explicit Place(std::vector<std::string>& told) : told_(told) {}
    void stop_when_finished() override { told_.emplace_back("stop"); }
    void finished(const std::vector<LayerTime>& /*layers*/, const std::vector<std::string>& /*failures*/) override {
      told_.emplace_back("finished");
    }

   private:
    std::vector<std::string>& told_;
  };
  ServiceCheckpointOptions options;
  options.make_place = [&] { return std::make_unique<Place>(told_); };
  options.after = AfterCheckpoint::Stop;
  service_.checkpoint(options);
  EXPECT_EQ(std::vector(told_.end() - 3, told_.end()), (std::vector<std::string>{"high continue", "stop", "finished"}));
  end_in(State::Restart);
  service_.checkpoint(options);
  EXPECT_EQ(told_.back(), "finished");
  EXPECT_NE(told_.end()[-2], "stop") << "of a restarted program";
}

// A thread that asks the ledger about a number that has changed while the snapshot is taken.
TEST_F(ServiceTest, HasThreadsWaitForTheComparisonInARestartedProcessAlone) {
  class Place : public Nowhere {
   public:
    explicit Place(bool restarted) : restarted_(restarted) {}
    bool is_restarted() const override { return restarted_; }

   private:
    bool restarted_;
  };
  Service service{module_, Capabilities{.local_sockets = true}, counting_places()};
  for (const bool restarted : {false, true}) {
    const int number = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const Claim claim = service.ledger().claim(number, "messages");
    std::future<bool> answer;
    module_.happen = [&] {
      const int other = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      ::dup3(other, number, O_CLOEXEC);
      ::close(other);
      answer = std::async(std::launch::async, [&] { return service.ledger().is_mine(claim); });
      if (!restarted) answer.wait();
      return restarted ? State::Restart : State::Continue;
    };
    ServiceCheckpointOptions options;
    options.make_place = [&] { return std::make_unique<Place>(restarted); };
    EXPECT_EQ(service.checkpoint(options).state, restarted ? State::Restart : State::Continue);
    EXPECT_EQ(answer.get(), restarted);
    EXPECT_EQ(service.ledger().close(claim), restarted);
    ::close(number);
  }
}

// Also in one that no function of pthread_atfork(3) has been called in.
TEST_F(ServiceTest, IsNoneInAForkedProcess) {
  for (const auto make : {::fork, ::_Fork}) {
    const pid_t child = make();
    if (child == 0) {
      ::alarm(10);
      int status = 0;
      try {
        service_.checkpoint();
        status = 1;
      } catch (const Error& error) {
        status = std::string(error.what()).find("has no service") == std::string::npos ? 2 : 0;
      }
      ::_exit(status);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(service_.checkpoint().state, State::Continue);
}

// T5.
TEST_F(ServiceTest, TreatsALayerThatClosedAtTheCheckpointAsRestartedThreeTimesInARow) {
  middle_.answer = [](State state) { return state == State::Checkpoint ? Answer::Reopen : Answer::Done; };
  for (int round = 1; round <= 3; ++round) {
    told_.clear();
    EXPECT_EQ(service_.checkpoint().reference, "test@" + std::to_string(round));
    EXPECT_THAT(told_, ElementsAre("high checkpoint", "middle checkpoint", "low checkpoint", "middle restart-pre",
                                   "low continue", "middle restart", "high continue"));
  }
}

TEST_F(ServiceTest, SaysTheStateThatTheLayersAreTold) {
  middle_.answer = [&](State state) {
    EXPECT_EQ(service_.state(), state) << name_of(state);
    return state == State::Checkpoint ? Answer::Reopen : Answer::Done;
  };
  low_.answer = high_.answer = [&](State state) {
    EXPECT_EQ(service_.state(), state) << name_of(state);
    return Answer::Done;
  };
  for (const State state : {State::Continue, State::Restart, State::Term}) {
    end_in(state);
    service_.checkpoint(options_);
    EXPECT_EQ(service_.state(), State::Running);
  }
  low_.answer = [](State) -> Answer { throw std::runtime_error("no"); };
  EXPECT_THROW(service_.checkpoint(), Error);
  EXPECT_EQ(told_.back(), "high error");
  EXPECT_EQ(service_.state(), State::Running);
}

// --- Errors unwind ---

TEST_F(ServiceTest, TellsOnlyThePreparedLayersOfAFailureBelowThem) {
  low_.answer = [](State state) -> Answer {
    if (state == State::Checkpoint) throw Error(ErrorKind::Failed, "messages in flight");
    return Answer::Done;
  };
  EXPECT_THAT([&] { service_.checkpoint(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("messages in flight"), HasSubstr("layer 'low' at checkpoint"))));
  EXPECT_THAT(told_,
              ElementsAre("high checkpoint", "middle checkpoint", "low checkpoint", "middle error", "high error"));
  low_.answer = {};
  EXPECT_EQ(service_.checkpoint().reference, "test@1");
}

TEST_F(ServiceTest, NeverEntersTheLayersBelowAFailure) {
  middle_.answer = [](State) -> Answer { throw std::runtime_error("no"); };
  EXPECT_THROW(service_.checkpoint(), Error);
  EXPECT_THAT(told_, ElementsAre("high checkpoint", "middle checkpoint", "high error"));
}

TEST_F(ServiceTest, TellsAllLayersUpwardsOfASnapshotThatFails) {
  module_.happen = []() -> State { throw Error(ErrorKind::Failed, "no space left"); };
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(HasSubstr("no space left")));
  EXPECT_THAT(std::vector<std::string>(told_.begin() + 3, told_.end()),
              ElementsAre("low error", "middle error", "high error"));
  EXPECT_EQ(service_.state(), State::Running);
}

TEST_F(ServiceTest, KeepsTheFirstCauseWhenUnwindingFailsToo) {
  module_.happen = []() -> State { throw Error(ErrorKind::Failed, "no space left"); };
  high_.answer = [](State state) -> Answer {
    if (state == State::Error) throw Error(ErrorKind::Failed, "cannot resume");
    return Answer::Done;
  };
  EXPECT_THAT([&] { service_.checkpoint(); },
              ThrowsMessage<Error>(AllOf(::testing::StartsWith("no space left"), HasSubstr("cannot resume"))));
}

TEST_F(ServiceTest, GivesEveryLayerItsTurnWhenOneFailsAfterTheSnapshot) {
  end_in(State::Restart);
  high_.answer = [](State state) -> Answer {
    if (state == State::RestartPre) throw Error(ErrorKind::Failed, "cannot release");
    return Answer::Done;
  };
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(AllOf(::testing::StartsWith("cannot release"),
                                                                         HasSubstr("after the snapshot test@1"))));
  EXPECT_EQ(told_.size(), 9U);
}

// In C++ anything can be thrown.
TEST_F(ServiceTest, TakesWhateverIsThrownForAFailure) {
  State failing = State::Checkpoint;
  middle_.answer = [&](State state) -> Answer {
    if (state == failing) throw 42;
    return Answer::Done;
  };
  const auto says = [](const char* state) {
    return AllOf(HasSubstr("no std::exception"), HasSubstr(std::string("layer 'middle' at ") + state));
  };
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(says("checkpoint")));
  EXPECT_THAT(told_, ElementsAre("high checkpoint", "middle checkpoint", "high error"));
  failing = State::Continue;
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(says("continue")));
  EXPECT_EQ(told_.back(), "high continue");
  failing = State::Error;
  std::string progress;
  ServiceCheckpointOptions options;
  options.progress = [&](const Progress& news) { progress = name_of(news.stage) + (": " + news.text); };
  module_.happen = []() -> State { throw 42; };
  EXPECT_THAT([&] { service_.checkpoint(options); },
              ThrowsMessage<Error>(
                  AllOf(::testing::StartsWith("something was thrown that is no std::exception"), says("error"))));
  EXPECT_THAT(progress, ::testing::StartsWith("failed: something was thrown"));
  EXPECT_EQ(told_.back(), "high error");
}

TEST_F(ServiceTest, AsksALayerAgainThatCannotYet) {
  int asked = 0;
  middle_.answer = [&](State state) {
    return state == State::Checkpoint && ++asked < 4 ? Answer::NotYet : Answer::Done;
  };
  const auto outcome = service_.checkpoint();
  EXPECT_EQ(outcome.state, State::Continue);
  EXPECT_EQ(asked, 4);
  // However often it was asked, it stands there once.
  const auto is_its = [](const LayerTime& time) { return time.layer == "middle" && time.state == State::Checkpoint; };
  EXPECT_EQ(std::ranges::count_if(outcome.layers, is_its), 1);
}

TEST_F(ServiceTest, GivesUpOnALayerThatIsNeverReady) {
  middle_.answer = [](State state) { return state == State::Checkpoint ? Answer::NotYet : Answer::Done; };
  ServiceCheckpointOptions options;
  options.time_limit = 20ms;
  EXPECT_THAT([&] { service_.checkpoint(options); },
              ThrowsMessage<Error>(HasSubstr("layer 'middle' was not ready for a snapshot within the time limit")));
  EXPECT_EQ(told_.back(), "high error");
}

// --- Who asks, and when ---

TEST_F(ServiceTest, ReportsItsProgress) {
  std::vector<std::string> stages;
  ServiceCheckpointOptions options;
  options.progress = [&](const Progress& progress) {
    stages.push_back(std::string(name_of(progress.stage)) + " " + progress.text);
  };
  service_.checkpoint(options);
  EXPECT_THAT(stages, ElementsAre("accepted ", "quiescing high", "quiescing middle", "quiescing low", "snapshotting ",
                                  "done test@1"));
}

TEST_F(ServiceTest, ServesSeveralAskersOneAfterTheOther) {
  std::atomic<int> at_once = 0;
  std::atomic<bool> overlapped = false;
  module_.happen = [&] {
    if (++at_once > 1) overlapped = true;
    std::this_thread::yield();
    --at_once;
    return State::Continue;
  };
  constexpr int kThreads = 8;
  std::vector<std::future<std::string>> askers;
  for (int index = 0; index < kThreads; ++index) {
    askers.push_back(std::async(std::launch::async, [&] { return service_.checkpoint().reference; }));
  }
  std::set<std::string> references;
  for (auto& asker : askers) references.insert(asker.get());
  EXPECT_EQ(references.size(), static_cast<std::size_t>(kThreads));
  EXPECT_FALSE(overlapped);
}

TEST_F(ServiceTest, WaitsForACriticalSection) {
  std::promise<void> entered;
  std::promise<void> leave;
  std::thread thread([&] {
    service_.critical_sections().register_thread("solver");
    const CriticalSection section(service_.critical_sections());
    entered.set_value();
    leave.get_future().wait();
  });
  entered.get_future().wait();
  std::string delayed;
  ServiceCheckpointOptions options;
  options.progress = [&](const Progress& progress) {
    if (progress.stage == Progress::Stage::Delayed && delayed.empty()) {
      delayed = progress.text;
      leave.set_value();
    }
  };
  service_.checkpoint(options);
  thread.join();
  EXPECT_THAT(delayed, HasSubstr("by thread 'solver' in a critical section"));
}

TEST_F(ServiceTest, RefusesACheckpointAskedInsideACriticalSection) {
  const CriticalSection section(service_.critical_sections());
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(HasSubstr("in a critical section itself")));
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(ServiceTest, HasNoServiceInAForkedChild) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      service_.checkpoint();
    } catch (const Error& error) {
      ::_exit(std::string(error.what()).find("has no service") != std::string::npos ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(ServiceTest, RefusesACheckpointAskedByALayer) {
  std::string refusal;
  middle_.answer = [&](State state) {
    if (state != State::Checkpoint) return Answer::Done;
    try {
      service_.checkpoint();
    } catch (const Error& error) {
      refusal = error.what();
    }
    return Answer::Done;
  };
  EXPECT_EQ(service_.checkpoint().reference, "test@1");
  EXPECT_THAT(refusal, HasSubstr("is at a checkpoint already"));
}

// --- Round after round ---

TEST_F(ServiceTest, KeepsGenerationsAndReferencesDistinctOverRestarts) {
  std::set<std::string> references;
  std::set<std::uint64_t> generations;
  Ledger& ledger = service_.ledger();
  const int number = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (const State state : {State::Continue, State::Restart, State::Continue, State::Restart, State::Continue}) {
    end_in(state);
    const Claim claim = ledger.claim(number, "low");
    references.insert(service_.checkpoint().reference);
    generations.insert(claim.generation);
    ledger.release(claim);
  }
  ::close(number);
  EXPECT_EQ(references.size(), 5U);
  EXPECT_EQ(generations.size(), 5U);
}

TEST_F(ServiceTest, LeavesAFileThatACallbackOpensRightAfterTheRestart) {
  end_in(State::Restart);
  const int lost = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const Claim claim = service_.ledger().claim(lost, "low");
  module_.happen = [&] {
    ::close(lost);
    return State::Restart;
  };
  int opened = -1;
  high_.answer = [&](State state) {
    if (state == State::RestartPre) opened = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    return Answer::Done;
  };
  low_.answer = [&](State state) {
    if (state == State::RestartPre) {
      EXPECT_FALSE(service_.ledger().close(claim));
    }
    return Answer::Done;
  };
  const Checkpointed outcome = service_.checkpoint();
  EXPECT_EQ(opened, lost);  // the very number that 'low' records
  EXPECT_GE(::fcntl(opened, F_GETFD), 0);
  EXPECT_THAT(outcome.forgotten, ElementsAre("descriptor " + std::to_string(lost) + " of layer 'low' (device)"));
  ::close(opened);
}

}  // namespace
}  // namespace crs::testing
