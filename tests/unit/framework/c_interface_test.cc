#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <stdexcept>

#include "framework/c_interface/component.h"

namespace crs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// What the component's operations do; handed to them as what the program offers.
struct Operations {
  std::function<int(const crs_component_host*, const crs_component_sink*, const crs_component_checkpoint_options*,
                    crs_component_outcome*)>
      checkpoint;
  std::function<int(crs_component_snapshot*, const crs_component_restart_options*, crs_component_restarted*)> restart;
  std::function<int(crs_component_plan*)> prelaunch;
  std::function<int(const crs_component_host*, const crs_component_snapshot*, const crs_component_restart_options*)>
      check_restart;
};

Operations& behaviour_of(const crs_component_host* host) {
  return *static_cast<Operations*>(const_cast<void*>(host->program(host, "behaviour")));
}

int query(const crs_component_host*, crs_component_answer* answer) {
  answer->usable = 1;
  answer->priority = 12;
  answer->reason = "a\nremark";
  return CRS_COMPONENT_OK;
}
int checkpoint(const crs_component_host* host, void*, pid_t, const crs_component_sink* sink,
               const crs_component_checkpoint_options* options, crs_component_outcome* outcome) {
  return behaviour_of(host).checkpoint(host, sink, options, outcome);
}
int restart(const crs_component_host* host, void*, crs_component_snapshot* snapshot,
            const crs_component_restart_options* options, crs_component_restarted* restarted) {
  return behaviour_of(host).restart(snapshot, options, restarted);
}
int prelaunch(const crs_component_host* host, void*, crs_component_plan* plan) {
  return behaviour_of(host).prelaunch(plan);
}
int check_restart(const crs_component_host* host, void*, const crs_component_snapshot* snapshot,
                  const crs_component_restart_options* options) {
  return behaviour_of(host).check_restart(host, snapshot, options);
}

class FakeSink : public SnapshotSink {
 public:
  const std::string& location() const override { return location_; }
  void commit(const SnapshotContents& given) override {
    if (disk_is_full) throw Error::from_errno("cannot write page data", ENOSPC).advise("Make room");
    contents = given;
    ++commits;
  }
  bool disk_is_full = false;
  int commits = 0;
  SnapshotContents contents;

 private:
  std::string location_ = "/the/location";
};

class CInterfaceTest : public testing::Test {
 protected:
  CInterfaceTest() {
    table_.size = sizeof table_;
    table_.major = CRS_COMPONENT_MAJOR;
    table_.minor = CRS_COMPONENT_MINOR;
    table_.name = "fake";
    table_.version = "1";
    table_.description = "A fake";
    table_.query = query;
    table_.checkpoint = checkpoint;
    table_.restart = restart;
    table_.prelaunch = prelaunch;
    table_.check_restart = check_restart;
  }

  std::unique_ptr<Component> component() {
    return make_c_component(table_, sizeof table_, {{"behaviour", &behaviour_}});
  }
  Module& module() {
    component_ = component();
    module_ = component_->query().module;
    return *module_;
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
  RestartedProgram restarted(const RestartOptions& options = {}) {
    Snapshot snapshot;
    return module().restart(snapshot, options);
  }
  Error checkpoint_error() {
    Module& used = module();
    return error_of([&] { used.checkpoint(0, sink_, {}); });
  }

  crs_component table_{};
  Operations behaviour_;
  FakeSink sink_;
  std::unique_ptr<Component> component_;
  std::unique_ptr<Module> module_;
};

TEST_F(CInterfaceTest, SaysWhatTheTableSays) {
  table_.capabilities = CRS_COMPONENT_FILES | CRS_COMPONENT_OTHER_PROCESSES | (UINT64_C(1) << 60);
  const auto made = component();
  EXPECT_EQ(made->name(), "fake");
  EXPECT_TRUE(made->capabilities().files && made->capabilities().other_processes);
  EXPECT_FALSE(made->capabilities().threads);
  const QueryResult answer = made->query();
  EXPECT_EQ(answer.priority, 12);
  EXPECT_EQ(answer.reason, "a remark");
}

TEST_F(CInterfaceTest, ATableOfALaterMinorVersionIsReadAsFarAsItIsKnown) {
  struct Later {
    crs_component known;
    void* more[4];
  } later{table_, {}};
  later.known.size = sizeof later;
  later.known.minor = 99;
  EXPECT_EQ(make_c_component(later.known, sizeof later, {})->interface_version().minor, 99);
}

TEST_F(CInterfaceTest, AnErrorKeepsKindAndAdvice) {
  behaviour_.checkpoint = [](const auto* host, auto*, auto*, auto*) {
    return host->fail(host, CRS_COMPONENT_REFUSED, "descriptor 7 is a printer", "Close it");
  };
  const Error error = checkpoint_error();
  EXPECT_EQ(error.kind(), ErrorKind::Refused);
  EXPECT_EQ(error.chain().front(), "descriptor 7 is a printer");
  EXPECT_EQ(error.advice(), "Close it");
}

TEST_F(CInterfaceTest, AFailureWithTheStatusOfSuccessIsAFailure) {
  behaviour_.checkpoint = [](const auto* host, auto*, auto*, auto*) {
    return host->fail(host, CRS_COMPONENT_OK, nullptr, nullptr);
  };
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("gives no reason"));
}

TEST_F(CInterfaceTest, AFailureOfAnEarlierOperationIsNotTheNextOnes) {
  behaviour_.checkpoint = [](const auto* host, auto*, auto*, auto*) {
    static_cast<void>(host->fail(host, CRS_COMPONENT_REFUSED, "earlier", nullptr));
    return 0;
  };
  Module& used = module();
  used.checkpoint(0, sink_, {});
  behaviour_.checkpoint = [](auto*, auto*, auto*, auto*) { return 33; };
  EXPECT_THAT(error_of([&] { used.checkpoint(0, sink_, {}); }).what(), HasSubstr("status 33"));
}

TEST_F(CInterfaceTest, NoExceptionCrosses) {
  behaviour_.checkpoint = [](auto*, auto*, auto*, auto*) -> int { throw std::runtime_error("escaped"); };
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("escaped"));
  behaviour_.checkpoint = [](auto*, auto*, auto*, auto*) -> int { throw 5; };
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("unknown type"));
}

TEST_F(CInterfaceTest, WhatTheHostThrowsComesOutAtTheEndOfTheOperation) {
  sink_.disk_is_full = true;
  bool went_on = false;
  behaviour_.checkpoint = [&](auto*, const auto* sink, auto*, auto*) {
    const int status = sink->commit(sink, nullptr);
    went_on = true;
    return status;
  };
  const Error error = checkpoint_error();
  EXPECT_TRUE(went_on);
  EXPECT_EQ(error.error_number(), ENOSPC);
  EXPECT_EQ(error.advice(), "Make room");
}

TEST_F(CInterfaceTest, ContentsAreCheckedAndFilledIn) {
  const char* const warnings[] = {"the printer is left out", nullptr};
  crs_component_contents contents{};
  contents.size = sizeof contents;
  contents.warnings = warnings;
  contents.memory_bytes = 77;
  behaviour_.checkpoint = [&](auto*, const auto* sink, auto*, crs_component_outcome* outcome) {
    EXPECT_STREQ(sink->location, "/the/location");
    outcome->state = CRS_COMPONENT_ENDS;
    return sink->commit(sink, &contents);
  };
  EXPECT_EQ(module().checkpoint(0, sink_, {}).state, State::Term);
  EXPECT_THAT(sink_.contents.warnings, ElementsAre("the printer is left out"));
  EXPECT_EQ(sink_.contents.memory_bytes, 77U);
  EXPECT_EQ(sink_.contents.pid, ::getpid());
  EXPECT_GE(sink_.contents.threads, 1U);
  EXPECT_FALSE(sink_.contents.command_line.empty());
  contents.pass_count = 3;  // but no passes
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("3 passes"));
  contents.pass_count = 0;
  contents.size = 8;
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("in 8 bytes"));
}

TEST_F(CInterfaceTest, CommitsOnce) {
  behaviour_.checkpoint = [](auto*, const auto* sink, auto*, auto*) {
    return sink->commit(sink, nullptr) + sink->commit(sink, nullptr);
  };
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("twice"));
  EXPECT_EQ(sink_.commits, 1);
}

TEST_F(CInterfaceTest, AnUnknownStateIsAnError) {
  behaviour_.checkpoint = [](auto*, auto*, auto*, auto* outcome) {
    outcome->state = 9;
    return 0;
  };
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("unknown state (9)"));
}

TEST_F(CInterfaceTest, OptionsArriveWhole) {
  CheckpointOptions options;
  options.after = AfterCheckpoint::Kill;
  options.leave_out = {"fd=7"};
  options.exclude = {{4096, 8192}};
  options.expendable = {3, 4};
  std::vector<std::string> said;
  options.progress = [&](const std::string& line) { said.push_back(line); };
  behaviour_.checkpoint = [](auto*, auto*, const auto* given, auto*) {
    EXPECT_EQ(given->after, CRS_COMPONENT_KILL);
    EXPECT_STREQ(given->leave_out[0], "fd=7");
    EXPECT_EQ(given->leave_out[1], nullptr);
    EXPECT_EQ(given->exclude_count, 1U);
    EXPECT_EQ(given->exclude[0].end, 8192U);
    EXPECT_EQ(given->expendable_count, 2U);
    EXPECT_EQ(given->expendable[1], 4);
    EXPECT_EQ(given->channel, -1);
    given->progress(given, "half of it");
    given->progress(given, nullptr);
    return 0;
  };
  module().checkpoint(::getpid(), sink_, options);
  EXPECT_THAT(said, ElementsAre("half of it"));
}

TEST_F(CInterfaceTest, AnotherProcessIsForThoseWhoSaySo) {
  behaviour_.checkpoint = [](auto*, auto*, auto*, auto*) { return 0; };
  EXPECT_THAT(error_of([&] { module().checkpoint(1, sink_, {}); }).what(),
              HasSubstr("cannot checkpoint another process"));
  table_.capabilities = CRS_COMPONENT_OTHER_PROCESSES;
  module().checkpoint(1, sink_, {});
}

TEST_F(CInterfaceTest, AMissingOperationIsNotSupported) {
  table_.checkpoint = nullptr;
  EXPECT_THAT(checkpoint_error().what(), HasSubstr("does not support this: checkpoint"));
  module().disable_checkpoint();
  module().register_thread();
  module().finalize();
}

TEST_F(CInterfaceTest, ARestartTellsItsProcess) {
  pid_t announced = 0;
  RestartOptions options;
  options.before_start = [&](pid_t pid) { announced = pid; };
  behaviour_.restart = [](auto*, const auto* given, auto* restarted) {
    EXPECT_EQ(given->spawn_child, 1);
    given->before_start(given, 4711);
    restarted->pid = 4711;
    restarted->note(restarted, "a note");
    return 0;
  };
  const RestartedProgram program = restarted(options);
  EXPECT_EQ(announced, 4711);
  EXPECT_EQ(program.wait_pid, 4711);
  EXPECT_THAT(program.notes, ElementsAre("a note"));
  behaviour_.restart = [](auto*, auto*, auto*) { return 0; };
  EXPECT_THAT(error_of([&] { restarted(); }).what(), HasSubstr("is process 0"));
}

TEST_F(CInterfaceTest, ACheckIsAskedOfComponentsThatKnowIt) {
  RestartOptions options;
  options.check_only = true;
  options.replace_caller = true;
  int asked = 0;
  behaviour_.check_restart = [&](auto*, auto*, const auto* given) {
    EXPECT_EQ(given->spawn_child, 0);
    ++asked;
    return 0;
  };
  behaviour_.restart = [](auto*, auto*, auto*) {
    ADD_FAILURE() << "the program is started";
    return 0;
  };
  EXPECT_EQ(restarted(options).pid, 0);
  EXPECT_EQ(asked, 1);
  // One of an earlier version that was compiled anew, and one that was not.
  table_.check_restart = nullptr;
  EXPECT_EQ(restarted(options).pid, 0);
  table_.check_restart = check_restart;
  table_.size = offsetof(crs_component, check_restart);
  EXPECT_EQ(restarted(options).pid, 0);
  EXPECT_EQ(asked, 1);
}

TEST_F(CInterfaceTest, ACheckSaysWhyARestartCannotBegin) {
  RestartOptions options;
  options.check_only = true;
  options.rebuild = [](Snapshot& given) { given = {"fake", "job@7", "/elsewhere/7", "", false}; };
  behaviour_.check_restart = [](const auto* host, const auto* snapshot, auto*) {
    EXPECT_STREQ(snapshot->reference, "job@7");
    EXPECT_EQ(snapshot->cold_start, 0);
    return host->fail(host, CRS_COMPONENT_DAMAGED, "half of it is missing", nullptr);
  };
  Module& used = module();
  Snapshot snapshot{"", "", "/elsewhere/7", "", true};
  const Error error = error_of([&] { used.restart(snapshot, options); });
  EXPECT_EQ(error.kind(), ErrorKind::Damaged);
  EXPECT_THAT(error.what(), HasSubstr("half of it is missing"));
}

TEST_F(CInterfaceTest, AColdStartIsClearedByTheComponent) {
  RestartOptions options;
  bool rebuilds = true;
  behaviour_.restart = [&](auto* snapshot, const auto* given, auto* restarted) {
    EXPECT_STREQ(snapshot->location, "/elsewhere/7");
    EXPECT_STREQ(snapshot->remote_location, "/remote/7");
    EXPECT_STREQ(snapshot->reference, "");
    EXPECT_EQ(snapshot->cold_start, 1);
    restarted->pid = 4711;
    if (!rebuilds) return 0;
    const int status = given->rebuild(given, snapshot);
    if (status != CRS_COMPONENT_OK) return status;
    EXPECT_STREQ(snapshot->reference, "job@7");
    EXPECT_EQ(snapshot->cold_start, 0);
    return 0;
  };
  const Snapshot known{"", "", "/elsewhere/7", "/remote/7", true};
  Module& used = module();
  Snapshot snapshot = known;
  options.rebuild = [](Snapshot& given) {
    given.component = "fake";
    given.reference = "job@7";
    given.cold_start = false;
  };
  used.restart(snapshot, options);
  EXPECT_EQ(snapshot.reference, "job@7");
  EXPECT_FALSE(snapshot.cold_start);
  options.rebuild = [](Snapshot&) { throw Error(ErrorKind::Damaged, "the manifest is damaged"); };
  snapshot = known;
  EXPECT_EQ(error_of([&] { used.restart(snapshot, options); }).kind(), ErrorKind::Damaged);
  EXPECT_TRUE(snapshot.cold_start);
  options.rebuild = {};
  EXPECT_THAT(error_of([&] { used.restart(snapshot, options); }).what(), HasSubstr("no manifest to be read"));
  // One that needs no more than the place, and says nothing of it.
  rebuilds = false;
  used.restart(snapshot, options);
  EXPECT_TRUE(snapshot.cold_start);
}

TEST_F(CInterfaceTest, PrelaunchChangesThePlanOrNothing) {
  LaunchPlan plan;
  plan.application = "a";
  plan.arguments = {"a", "b"};
  plan.environment = {"X=1", "Y=2"};
  behaviour_.prelaunch = [](auto* given) {
    EXPECT_STREQ(given->arguments[1], "b");
    const char* const arguments[] = {"a", "c", nullptr};
    return given->set_arguments(given, arguments) + given->set_variable(given, "X", nullptr) +
           given->set_variable(given, "Y", "3=\n") + given->set_application(given, "z");
  };
  module().prelaunch(plan);
  EXPECT_THAT(plan.arguments, ElementsAre("a", "c"));
  EXPECT_THAT(plan.environment, ElementsAre("Y=3=\n"));
  EXPECT_EQ(plan.application, "z");
  behaviour_.prelaunch = [](auto* given) {
    static_cast<void>(given->set_application(given, "changed"));
    return given->set_variable(given, "A=B", "1");
  };
  EXPECT_THAT(error_of([&] { module().prelaunch(plan); }).what(), HasSubstr("'A=B'"));
  EXPECT_EQ(plan.application, "z");
}

TEST_F(CInterfaceTest, ParametersAreReadAsText) {
  const crs_component_parameter parameters[] = {{"limit", CRS_COMPONENT_INTEGER, "5", "How much."},
                                                {"loud", CRS_COMPONENT_BOOLEAN, "no", "How loud."}};
  table_.parameters = parameters;
  table_.parameter_count = 2;
  Module& used = module();
  ASSERT_EQ(component_->parameters().size(), 2U);
  EXPECT_EQ(component_->parameters()[0].default_value, ParameterValue(std::int64_t{5}));
  EXPECT_EQ(component_->parameters()[1].default_value, ParameterValue(false));
  component_->set_settings([](const std::string& name) -> ParameterValue {
    if (name != "limit") throw Error(ErrorKind::Failed, "unknown");
    return std::int64_t{6};
  });
  behaviour_.checkpoint = [](const auto* host, auto*, auto*, auto*) {
    EXPECT_STREQ(host->parameter(host, "limit"), "6");
    EXPECT_EQ(host->parameter(host, "other"), nullptr);
    EXPECT_EQ(host->parameter(host, nullptr), nullptr);
    EXPECT_EQ(host->program(host, "nothing"), nullptr);
    return 0;
  };
  used.checkpoint(0, sink_, {});
}

}  // namespace
}  // namespace crs
