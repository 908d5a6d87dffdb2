#include "framework/components.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <stdexcept>
#include <thread>

#include "components/none/none.h"
#include "crs/error.hpp"

namespace crs {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// What a FakeComponent does; shared with the test, which watches.
struct Behaviour {
  std::string name = "fake";
  InterfaceVersion interface_version = kInterfaceVersion;
  int priority = 10;
  std::string declines;      // with this reason
  std::string query_throws;  // std::runtime_error
  bool query_ends_thread = false;
  std::string init_throws;
  std::string finalize_throws;
  int queries = 0;
  std::vector<std::string> calls;
};

Behaviour named(const std::string& name) {
  Behaviour behaviour;
  behaviour.name = name;
  return behaviour;
}

class FakeModule : public Module {
 public:
  explicit FakeModule(Behaviour& behaviour) : behaviour_(behaviour) {}
  void init() override {
    behaviour_.calls.emplace_back("init");
    if (!behaviour_.init_throws.empty()) throw Error(ErrorKind::Failed, behaviour_.init_throws);
  }
  void finalize() override {
    behaviour_.calls.emplace_back("finalize");
    if (!behaviour_.finalize_throws.empty()) throw Error(ErrorKind::Failed, behaviour_.finalize_throws);
  }
  CheckpointOutcome checkpoint(pid_t, SnapshotSink&, const CheckpointOptions&) override { return {}; }
  RestartedProgram restart(Snapshot&, const RestartOptions&) override { return {}; }

 private:
  Behaviour& behaviour_;
};

class FakeComponent : public Component {
 public:
  explicit FakeComponent(Behaviour& behaviour) : behaviour_(behaviour) {}
  void set_output(ComponentOutput output) override { output_ = std::move(output); }
  std::string name() const override { return behaviour_.name; }
  std::string version() const override { return "1.2.3"; }
  InterfaceVersion interface_version() const override { return behaviour_.interface_version; }
  std::string description() const override { return "A fake."; }
  Capabilities capabilities() const override { return {}; }
  QueryResult query() override {
    ++behaviour_.queries;
    output_(0, "always said");
    output_(2, "said at level 2");
    if (behaviour_.query_ends_thread) ::pthread_exit(nullptr);
    if (!behaviour_.query_throws.empty()) throw std::runtime_error(behaviour_.query_throws);
    if (!behaviour_.declines.empty()) return {nullptr, 0, behaviour_.declines};
    return {std::make_unique<FakeModule>(behaviour_), behaviour_.priority, ""};
  }

 private:
  Behaviour& behaviour_;
  ComponentOutput output_;
};

class ComponentsTest : public testing::Test {
 protected:
  ComponentRegistry& registry() {
    if (!registry_) {
      registry_.emplace(parameters_, [this](const std::string& line) { lines_.push_back(line); });
      for (Behaviour* behaviour : {&a_, &b_}) registry_->add(std::make_unique<FakeComponent>(*behaviour));
    }
    return *registry_;
  }

  template <typename Action>
  static Error error_of(Action action) {
    try {
      action();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "nothing was thrown";
    return {ErrorKind::Failed, ""};
  }

  Behaviour a_ = named("a");
  Behaviour b_ = named("b");
  Parameters parameters_;
  std::vector<std::string> lines_;
  std::optional<ComponentRegistry> registry_;
};

TEST_F(ComponentsTest, TheHighestPriorityIsSelected) {
  b_.priority = 11;
  EXPECT_EQ(registry().select().name(), "b");
}

TEST_F(ComponentsTest, AThreadThatAComponentEndsEnds) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer does not follow the end of a thread through its frames";
#endif
  a_.query_ends_thread = true;
  bool outlived = false;
  std::thread([&] {
    static_cast<void>(registry().select());
    outlived = true;
  }).join();
  EXPECT_FALSE(outlived);
  a_.query_ends_thread = false;
  EXPECT_EQ(registry().select().name(), "a");
}

TEST_F(ComponentsTest, TiesGoByName) { EXPECT_EQ(registry().select().name(), "a"); }

TEST_F(ComponentsTest, AParameterSetsThePriority) {
  parameters_.read_option("crs_b_priority=99");
  EXPECT_EQ(registry().select().name(), "b");
  EXPECT_EQ(registry().statuses().front().priority, 99);
}

TEST_F(ComponentsTest, TheNamedOneIsSelectedWhateverThePriorities) {
  parameters_.read_option("crs=b");
  EXPECT_EQ(registry().select().name(), "b");
  EXPECT_THAT(a_.calls, IsEmpty());
  EXPECT_EQ(a_.queries, 0) << "a component that is not asked for must not be bothered";
}

TEST_F(ComponentsTest, ARestartNamesItsComponentWhateverTheParameterSays) {
  parameters_.read_option("crs=a");
  EXPECT_EQ(registry().select("b").name(), "b");
}

TEST_F(ComponentsTest, InitAndFinalizeOnTheSelectedOneOnly) {
  {
    const Selection selection = registry().select();
    EXPECT_THAT(a_.calls, ElementsAre("init"));
  }
  EXPECT_THAT(a_.calls, ElementsAre("init", "finalize"));
  EXPECT_THAT(b_.calls, IsEmpty());
}

TEST_F(ComponentsTest, AMovedSelectionIsFinalisedOnce) {
  {
    Selection first = registry().select();
    const Selection second = std::move(first);
  }
  EXPECT_THAT(a_.calls, ElementsAre("init", "finalize"));
}

TEST_F(ComponentsTest, AFailingInitAbortsTheSelectionWithTheReason) {
  a_.init_throws = "no licence";
  EXPECT_THAT(error_of([&] { registry().select(); }).what(), AllOf(HasSubstr("no licence"), HasSubstr("component a")));
  EXPECT_THAT(a_.calls, ElementsAre("init")) << "what was not initialised must not be finalised";
  EXPECT_THAT(b_.calls, IsEmpty());
}

TEST_F(ComponentsTest, AFailingFinalizeIsReported) {
  a_.finalize_throws = "disk full";
  {
    const Selection selection = registry().select();
  }
  EXPECT_THAT(lines_, Contains(AllOf(HasSubstr("component a"), HasSubstr("disk full"))));
}

TEST_F(ComponentsTest, AQueryThatThrowsIsADeclinedComponent) {
  a_.query_throws = "out of luck";
  EXPECT_EQ(registry().select().name(), "b");
  const auto statuses = registry().statuses();
  EXPECT_EQ(statuses.back().name, "a");
  EXPECT_FALSE(statuses.back().usable);
  EXPECT_THAT(statuses.back().reason, HasSubstr("out of luck"));
}

TEST_F(ComponentsTest, AnUnusableNamedComponentSaysWhyAndWhatThereIs) {
  a_.declines = "the kernel is too old";
  parameters_.read_option("crs=a");
  EXPECT_THAT(error_of([&] { registry().select(); }).what(),
              AllOf(HasSubstr("the kernel is too old"), HasSubstr("b (priority 10)")));
}

TEST_F(ComponentsTest, AnUnknownNameListsWhatThereIsAndWhyEachDeclined) {
  b_.declines = "the moon is full";
  const Error error = error_of([&] { registry().select("nativ"); });
  EXPECT_EQ(error.kind(), ErrorKind::Failed);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("'nativ'"), HasSubstr("a (priority 10)"), HasSubstr("the moon is full")));
  parameters_.read_option("crs=nativ");
  EXPECT_EQ(error_of([&] { registry().select(); }).kind(), ErrorKind::Usage);
}

TEST_F(ComponentsTest, WithoutAUsableOneEachReasonIsGiven) {
  a_.declines = "first reason";
  b_.query_throws = "second reason";
  EXPECT_THAT(error_of([&] { registry().select(); }).what(),
              AllOf(HasSubstr("first reason"), HasSubstr("second reason")));
}

TEST_F(ComponentsTest, AnotherMajorVersionIsRefusedAndNeverAsked) {
  a_.interface_version = {1, 4, 2};
  EXPECT_EQ(registry().select().name(), "b");
  EXPECT_THAT(error_of([&] { registry().select("a"); }).what(),
              AllOf(HasSubstr("1.4.2"), HasSubstr(to_text(kInterfaceVersion))));
  EXPECT_EQ(a_.queries, 0);
}

TEST_F(ComponentsTest, AnotherMinorVersionIsTaken) {
  a_.interface_version = {2, 7, 0};
  EXPECT_EQ(registry().select().name(), "a");
}

TEST_F(ComponentsTest, VerbosityIsPerComponentAndForAll) {
  parameters_.read_option("crs_b_verbose=2");
  registry().statuses();
  EXPECT_THAT(lines_, ElementsAre("a: always said", "b: always said", "b: said at level 2"));
}

TEST_F(ComponentsTest, BaseVerbosityCountsForAll) {
  parameters_.read_option("crs_base_verbose=2");
  registry().statuses();
  EXPECT_THAT(lines_, Contains("a: said at level 2"));
}

TEST_F(ComponentsTest, NamesAreUniqueAndPlain) {
  registry();
  Behaviour again = named("a");
  EXPECT_THROW(registry().add(std::make_unique<FakeComponent>(again)), Error);
  for (const std::string name : {"", "A", "a b", "base", "a/b"}) {
    Behaviour odd = named(name);
    EXPECT_THROW(registry().add(std::make_unique<FakeComponent>(odd)), Error) << name;
  }
  registry().add(nullptr);
  EXPECT_EQ(registry().statuses().size(), 2U);
}

TEST(NoneComponent, StoresNothingAndSaysSoOnceWhenSelected) {
  Parameters parameters;
  std::vector<std::string> lines;
  ComponentRegistry registry(parameters, [&](const std::string& line) { lines.push_back(line); });
  registry.add(make_none_component());
  const Selection selection = registry.select();
  EXPECT_THAT(lines, ElementsAre(HasSubstr("stores nothing")));
  EXPECT_EQ(registry.statuses().front().priority, 1);

  class UnusedSink : public SnapshotSink {
   public:
    const std::string& location() const override { return location_; }
    void commit(const SnapshotContents&) override { ADD_FAILURE() << "nothing must be committed"; }

   private:
    std::string location_;
  } sink;
  EXPECT_EQ(selection.module().checkpoint(0, sink, {}).state, State::Continue);
  EXPECT_THROW(selection.module().checkpoint(1, sink, {}), Error);
  Snapshot nothing;
  EXPECT_THROW(selection.module().restart(nothing, {}), Error);
}

}  // namespace
}  // namespace crs
