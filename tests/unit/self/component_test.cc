// The shared object self.so in a program that has libcrs's side of it, with a place of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "crs/self.h"
#include "crs/self.hpp"
#include "framework/components.h"
#include "framework/discovery.h"
#include "self/memory_file.h"
#include "self/offer.h"
#include "self/program_record.h"
#include "self/temporary_directory.h"

// What a program of 2009 has. The test says what they do.
namespace {
std::string called;
constexpr int kEndsItsThread = -77;
int checkpoint_status = 0;
const char* restart_line = "sh -c 'exit 7' \"$HOME\"";
int continue_status = 0;
int answer(int status) {
  if (status == kEndsItsThread) ::pthread_exit(nullptr);
  return status;
}
}  // namespace
extern "C" {
__attribute__((visibility("default"))) int old_style_checkpoint(char** restart_command) {
  called += "checkpoint ";
  *restart_command = ::strdup(restart_line);
  return answer(checkpoint_status);
}
__attribute__((visibility("default"))) int old_style_continue() {
  called += "continue ";
  return answer(continue_status);
}
}

namespace crs::self {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LocalSink : public SnapshotSink {
 public:
  const std::string& location() const override { return directory_.path(); }
  void commit(const SnapshotContents& given) override {
    called += "commit ";
    if (fails) throw Error(ErrorKind::Failed, "the disk is full");
    contents = given;
    committed = true;
  }
  bool fails = false;
  bool committed = false;
  SnapshotContents contents;

 private:
  crs::testing::TemporaryDirectory directory_;
};

class SinkNowhere : public LocalSink {
 public:
  const std::string& location() const override { return nowhere_; }

 private:
  std::string nowhere_ = "/no/such/place";
};

class SelfTest : public ::testing::Test {
 protected:
  SelfTest() { called.clear(), checkpoint_status = 0, continue_status = 0; }
  ~SelfTest() override { set_callbacks({}), set_restart_command({}); }

  // Found as any other component.
  std::unique_ptr<Selection> select(const std::string& prefix = "nobody",
                                    const ProgramOffers& offers = {{"self", offer()}}) {
    registry_.reset();
    parameters_ = Parameters();
    parameters_.read_option("crs_self_prefix=" + prefix);
    registry_ = std::make_unique<ComponentRegistry>(parameters_, [](const std::string&) {});
    for (auto& found : discover_components({SELF_DIRECTORY}, offers)) registry_->add(std::move(found.component));
    return std::make_unique<Selection>(registry_->select("self"));
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
  // Whether a thread that asks for a checkpoint is ended by that, and leaves no snapshot.
  template <typename Sink = LocalSink>
  static bool is_ended(const Selection& selection) {
    Sink sink;
    bool returned = false;
    std::thread([&] {
      try {
        selection.module().checkpoint(0, sink, {});
      } catch (const std::exception&) {
      }
      returned = true;
    }).join();
    return !returned && !sink.committed;
  }
  static std::string program_in(const SnapshotSink& sink) { return sink.location() + "/" + kProgramFile; }
  static int exit_status_of(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  RestartedProgram restart(const Selection& selection, bool from_location = false) const {
    Snapshot snapshot{"self", "job@1", sink_.location(), "", false};
    RestartOptions options;
    options.rebuild = [whole = snapshot](Snapshot& given) { given = whole; };
    if (from_location) snapshot = {"", "", sink_.location(), "", true};
    const RestartedProgram program = selection.module().restart(snapshot, options);
    EXPECT_FALSE(snapshot.cold_start);
    return program;
  }

  Parameters parameters_;
  std::unique_ptr<ComponentRegistry> registry_;
  LocalSink sink_;
};

TEST_F(SelfTest, ChangesItsPriorityWithWhatTheProgramHas) {
  EXPECT_EQ(select()->status().priority, 0);
  EXPECT_EQ(select("old_style")->status().priority, 60);
  EXPECT_EQ(select("old_style_")->status().priority, 60);
  EXPECT_EQ(select("old_style", {})->status().priority, 0);
  int number = 5;
  protect(1, &number, sizeof number);
  EXPECT_EQ(select()->status().priority, 60);
  unprotect(1);
}

TEST_F(SelfTest, NothingToSaveIsAnError) {
  const auto selection = select();
  const Error error = error_of([&] { selection->module().checkpoint(0, sink_, {}); });
  EXPECT_THAT(error.what(), HasSubstr("nobody_checkpoint"));
  EXPECT_THAT(error.advice(), HasSubstr("-rdynamic"));
}

TEST_F(SelfTest, WritesProtectedMemory) {
  std::string text = "what matters";
  EXPECT_FALSE(protect(3, text.data(), text.size()));
  const auto selection = select();
  EXPECT_EQ(selection->module().checkpoint(0, sink_, {}).state, State::Continue);
  unprotect(3);
  std::string back(text.size(), '.');
  MemoryFile(sink_.location() + "/" + kMemoryFile).read(3, back.data(), back.size());
  EXPECT_EQ(back, text);
  EXPECT_EQ(sink_.contents.memory_bytes, text.size());
  EXPECT_EQ(sink_.contents.pid, ::getpid());
  const ProgramRecord record = read_program_record(program_in(sink_));
  EXPECT_EQ(record.executable, std::filesystem::read_symlink("/proc/self/exe"));
  EXPECT_EQ(record.working_directory, std::filesystem::current_path());
}

TEST_F(SelfTest, AnotherProcessIsNotSupported) {
  const auto selection = select("old_style");
  EXPECT_FALSE(selection->status().capabilities.other_processes);
  EXPECT_THAT(error_of([&] { selection->module().checkpoint(::getppid(), sink_, {}); }).what(),
              HasSubstr("cannot checkpoint another process"));
  EXPECT_EQ(called, "");
}

TEST_F(SelfTest, FunctionsAreFoundByTheirNames) {
  const auto selection = select("old_style");
  selection->module().checkpoint(0, sink_, {});
  EXPECT_EQ(called, "checkpoint continue commit ");
  // What the program did for it is its pause.
  ASSERT_EQ(sink_.contents.passes.size(), 2U);
  EXPECT_GT(sink_.contents.passes[0].nanoseconds, 0U);
  EXPECT_EQ(sink_.contents.pause_nanoseconds,
            sink_.contents.passes[0].nanoseconds + sink_.contents.passes[1].nanoseconds);
  EXPECT_THAT(read_program_record(program_in(sink_)).arguments, ElementsAre("sh", "-c", "exit 7", "$HOME"));
  RestartedProgram program = restart(*selection);
  EXPECT_EQ(exit_status_of(program.pid), 7);
}

TEST_F(SelfTest, WhoIsPreparedHearsThatItGoesOnWhereItsCommandCannotBe) {
  const char* const sound = restart_line;
  for (const char* const line : {"sh 'unended", "   ", "'' words"}) {
    restart_line = line;
    called.clear();
    LocalSink other;
    EXPECT_THAT(error_of([&] { select("old_style")->module().checkpoint(0, other, {}); }).what(),
                HasSubstr("restart command"));
    EXPECT_EQ(called, "checkpoint continue ") << line;
    EXPECT_FALSE(other.committed);
  }
  restart_line = sound;
}

TEST_F(SelfTest, NoRestartIsPromisedInADirectoryThatIsGone) {
  const std::filesystem::path before = std::filesystem::current_path();
  const crs::testing::TemporaryDirectory directory;
  const std::string lost = directory.file("lost");
  std::filesystem::create_directory(lost);
  std::filesystem::current_path(lost);
  std::filesystem::remove(lost);
  const std::string said = error_of([&] { select("old_style")->module().checkpoint(0, sink_, {}); }).what();
  EXPECT_THAT(said, HasSubstr("working directory " + lost + ", which a restart needs, is gone"));
  EXPECT_EQ(called, "checkpoint continue ");
  EXPECT_FALSE(sink_.committed);
  // Another of that name is one.
  std::filesystem::create_directory(lost);
  select("old_style")->module().checkpoint(0, sink_, {});
  EXPECT_EQ(read_program_record(program_in(sink_)).working_directory, lost);
  std::filesystem::current_path(before);
}

TEST_F(SelfTest, AFailingCallbackLeavesNoSnapshot) {
  checkpoint_status = 3;
  EXPECT_THAT(error_of([&] { select("old_style")->module().checkpoint(0, sink_, {}); }).what(),
              HasSubstr("old_style_checkpoint() of the program returned 3"));
  EXPECT_EQ(called, "checkpoint ");
  checkpoint_status = 0;
  continue_status = 4;
  LocalSink other;
  EXPECT_THAT(error_of([&] { select("old_style")->module().checkpoint(0, other, {}); }).what(),
              HasSubstr("old_style_continue() of the program returned 4"));
  EXPECT_FALSE(other.committed || sink_.committed);
}

TEST_F(SelfTest, RegisteredCallbacksWin) {
  set_callbacks({[](RestartCommand& command) {
                   called += "mine ";
                   command.arguments = {"false"};
                 },
                 [] { called += "on "; },
                 {}});
  const auto selection = select("old_style");
  selection->module().checkpoint(0, sink_, {});
  EXPECT_EQ(called, "mine on commit ");
  EXPECT_EQ(read_program_record(program_in(sink_)).executable, "false");
  set_callbacks({[](RestartCommand&) { throw std::runtime_error("not now"); }, {}, {}});
  LocalSink other;
  EXPECT_THAT(error_of([&] { selection->module().checkpoint(0, other, {}); }).what(), HasSubstr("not now"));
  EXPECT_FALSE(other.committed);
}

TEST_F(SelfTest, ACallbackMayEndItsThread) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer does not follow a thread that unwinds itself";
#endif
  const auto selection = select("old_style");
  checkpoint_status = kEndsItsThread;
  EXPECT_TRUE(is_ended(*selection));
  checkpoint_status = 0;
  continue_status = kEndsItsThread;
  EXPECT_TRUE(is_ended(*selection));
  called.clear();
  EXPECT_TRUE(is_ended<SinkNowhere>(*selection));
  EXPECT_EQ(called, "checkpoint continue ");
  set_callbacks({[](RestartCommand&) { ::pthread_exit(nullptr); }, {}, {}});
  EXPECT_TRUE(is_ended(*selection));
  const auto end = [](void*, char**) -> int { ::pthread_exit(nullptr); };
  EXPECT_EQ(crs_self_set_callbacks(end, nullptr, nullptr, nullptr), 0);
  EXPECT_TRUE(is_ended(*selection));
  // The next thread finds everything in order.
  set_callbacks({});
  continue_status = 0;
  selection->module().checkpoint(0, sink_, {});
  EXPECT_TRUE(sink_.committed);
}

TEST_F(SelfTest, AProgramThatEndsDoesNotGoOn) {
  const auto selection = select("old_style");
  CheckpointOptions options;
  options.after = AfterCheckpoint::Kill;
  EXPECT_EQ(selection->module().checkpoint(0, sink_, options).state, State::Term);
  EXPECT_EQ(called, "checkpoint commit ");
  called.clear();
  LocalSink full;
  full.fails = true;
  EXPECT_THAT(error_of([&] { selection->module().checkpoint(0, full, options); }).what(),
              HasSubstr("the disk is full"));
  EXPECT_EQ(called, "checkpoint commit continue ");
}

TEST_F(SelfTest, AProgramThatIsToStopGoesOnUntilItsServiceStopsIt) {
  const auto selection = select("old_style");
  CheckpointOptions options;
  options.after = AfterCheckpoint::Stop;
  EXPECT_EQ(selection->module().checkpoint(0, sink_, options).state, State::Continue);
  EXPECT_TRUE(sink_.committed);
}

TEST_F(SelfTest, WhatCannotBeExecutedIsAnErrorWithNothingLeft) {
  set_restart_command({{"/no/such/program"}, "/"});
  const auto selection = select("old_style");
  set_callbacks({{}, {}, [] {}});
  selection->module().checkpoint(0, sink_, {});
  EXPECT_THAT(error_of([&] { restart(*selection); }).what(), HasSubstr("/no/such/program"));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(SelfTest, TheRestartedProgramKnowsItsSnapshot) {
  set_callbacks({[&](RestartCommand& command) {
                   command.arguments = {"sh", "-c", "pwd >out; echo $CRS_SELF_REFERENCE $CRS_SELF_LOCATION >>out"};
                   command.working_directory = sink_.location();
                 },
                 {},
                 {}});
  const auto selection = select();
  selection->module().checkpoint(0, sink_, {});
  const std::string where = sink_.location();
  for (const bool from_location : {false, true}) {
    EXPECT_EQ(exit_status_of(restart(*selection, from_location).pid), 0);
    EXPECT_EQ(read_file(where + "/out"), where + "\njob@1 " + where + "\n");
  }
}

TEST_F(SelfTest, AForkedProcessNamesMemoryWhateverOtherThreadsDo) {
  std::atomic<bool> is_over = false;
  std::thread busy([&] {
    for (int memory = 0; !is_over;) {
      protect(1, &memory, sizeof memory);
      unprotect(1);
    }
  });
  int status = 0;
  for (int round = 0; round < 100 && status == 0; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      protect(2, &status, sizeof status);
      ::_exit(0);
    }
    ::waitpid(child, &status, 0);
  }
  is_over = true;
  busy.join();
  EXPECT_EQ(status, 0);
}

TEST_F(SelfTest, ForC) {
  int number = 1;
  EXPECT_EQ(crs_self_protect(5, &number, sizeof number), 0);
  EXPECT_EQ(crs_self_protect(5, &number, sizeof number), -1);
  EXPECT_THAT(crs_self_problem(), HasSubstr("number 5"));
  EXPECT_EQ(crs_self_unprotect(5), 0);
  EXPECT_EQ(crs_self_unprotect(5), -1);
  EXPECT_EQ(crs_self_restarted_from(), nullptr);
  const char* const nothing[] = {nullptr};
  EXPECT_EQ(crs_self_set_restart_command(nothing, nullptr), -1);
  const char* const nameless[] = {"", nullptr};
  EXPECT_EQ(crs_self_set_restart_command(nameless, nullptr), -1);
  const auto save = [](void* data, char**) { return *static_cast<int*>(data); };
  EXPECT_EQ(crs_self_set_callbacks(save, nullptr, nullptr, &number), 0);
  EXPECT_THAT(error_of([&] { select()->module().checkpoint(0, sink_, {}); }).what(),
              HasSubstr("checkpoint callback returned 1"));
}

}  // namespace
}  // namespace crs::self
