#include "store/running_jobs.h"

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include <chrono>
#include <future>

#include "child_process.h"
#include "store/running_jobs.pb.h"
#include "store_fixture.h"

namespace crs {
namespace {

using ::testing::HasSubstr;

class RunningJobsTest : public ::testing::Test {
 protected:
  static ChildProcess make_program() {
    return ChildProcess([] {
      ::pause();
      return 0;
    });
  }
  std::string record_path(const std::string& job) const { return store_.location() + "/" + job + "/running"; }
  store::RunningRecord record_of(const std::string& job) const {
    store::RunningRecord record;
    record.ParseFromString(read_file(record_path(job)));
    return record;
  }
  void put_record(const std::string& job, const store::RunningRecord& record) const {
    write_text(record_path(job), record.SerializeAsString());
  }
  bool has_record(const std::string& job) const { return std::filesystem::exists(record_path(job)); }

  TemporaryDirectory directory_;
  Store store_{directory_.path() + "/store"};
  RunningJobs jobs_{store_};
};

TEST_F(RunningJobsTest, FindsByNameAndByPid) {
  const ChildProcess first = make_program();
  const ChildProcess second = make_program();
  EXPECT_FALSE(jobs_.find("sim").has_value());
  jobs_.announce("sim", first.pid());
  jobs_.announce("other", second.pid());
  EXPECT_EQ(jobs_.find("sim")->pid, first.pid());
  EXPECT_EQ(jobs_.find_process(second.pid())->job, "other");
  EXPECT_FALSE(jobs_.find_process(::getpid()).has_value());
  ASSERT_EQ(jobs_.list().size(), 2U);
  EXPECT_EQ(jobs_.list()[0].job, "other");
  EXPECT_TRUE(store_.list().empty()) << "a running job is no snapshot";
}

TEST_F(RunningJobsTest, NameOfARunningJobIsRefused) {
  const ChildProcess first = make_program();
  const ChildProcess second = make_program();
  jobs_.check_free("sim");
  jobs_.announce("sim", first.pid());
  EXPECT_NO_THROW(jobs_.announce("sim", first.pid())) << "the same process may say so again";
  const std::string text = text_of_error(ErrorKind::Failed, [&] { jobs_.announce("sim", second.pid()); });
  EXPECT_THAT(text, HasSubstr("the job sim runs already, as process " + std::to_string(first.pid())));
  EXPECT_THAT(text, HasSubstr("--name"));
  text_of_error(ErrorKind::Failed, [&] { jobs_.check_free("sim"); });
  EXPECT_EQ(jobs_.find("sim")->pid, first.pid());
}

// One that takes its time on its way out, as those with much memory do: it stops there (ptrace(2), PTRACE_O_TRACEEXIT).
TEST_F(RunningJobsTest, WaitsForAProgramThatHasBeenKilled) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, program.pid(), nullptr, PTRACE_O_TRACEEXIT), 0);
  program.kill();
  ASSERT_EQ(::waitpid(program.pid(), nullptr, 0), program.pid());
  ASSERT_TRUE(jobs_.find("sim"));
  std::future<void> free = std::async(std::launch::async, [&] { jobs_.check_free("sim"); });
  EXPECT_EQ(free.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  ASSERT_EQ(::ptrace(PTRACE_CONT, program.pid(), nullptr, nullptr), 0);
  EXPECT_NO_THROW(free.get());
}

// Nobody is to end the `crs restart` for the program.
TEST_F(RunningJobsTest, ARestartIsNotTakenForTheProgram) {
  const ChildProcess restart = make_program();
  const ChildProcess program = make_program();
  jobs_.announce("sim", restart.pid(), 0, Runner::Restart);
  EXPECT_TRUE(jobs_.find("sim")->restarting);
  const std::string text = text_of_error(ErrorKind::Failed, [&] { jobs_.check_free("sim"); });
  EXPECT_THAT(text, HasSubstr("the job sim is just being restarted, by process " + std::to_string(restart.pid())));
  EXPECT_THAT(text, testing::Not(HasSubstr("end that process")));
  jobs_.announce("sim", program.pid(), restart.pid());
  EXPECT_FALSE(jobs_.find("sim")->restarting);
  EXPECT_EQ(jobs_.find("sim")->pid, program.pid());
}

TEST_F(RunningJobsTest, EndedProcessIsDroppedAndItsNameIsFree) {
  ChildProcess first = make_program();
  const ChildProcess second = make_program();
  jobs_.announce("sim", first.pid());
  first.kill();
  first.wait_until_zombie();
  EXPECT_FALSE(jobs_.find("sim").has_value()) << "a zombie runs no more";
  first.wait();
  EXPECT_FALSE(has_record("sim"));
  EXPECT_NO_THROW(jobs_.announce("sim", second.pid()));
  EXPECT_EQ(jobs_.find("sim")->pid, second.pid());
}

TEST_F(RunningJobsTest, ReusedPidIsRecognised) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  store::RunningRecord record = record_of("sim");
  record.set_start_time(record.start_time() + 1);
  put_record("sim", record);
  EXPECT_FALSE(jobs_.find_process(program.pid()).has_value());
  EXPECT_FALSE(has_record("sim"));
}

TEST_F(RunningJobsTest, EntryOfAnEarlierBootIsDropped) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  store::RunningRecord record = record_of("sim");
  record.set_boot_id("another boot");
  put_record("sim", record);
  EXPECT_FALSE(jobs_.find("sim").has_value());
  EXPECT_FALSE(has_record("sim"));
}

TEST_F(RunningJobsTest, AJobThatNeverHadASnapshotLeavesNothing) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  EXPECT_TRUE(std::filesystem::exists(store_.location() + "/sim"));
  jobs_.withdraw("sim", program.pid());
  EXPECT_FALSE(std::filesystem::exists(store_.location() + "/sim"));
}

TEST_F(RunningJobsTest, EntryOfAnotherMachineIsLeftAloneButBlocksNothing) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  store::RunningRecord record = record_of("sim");
  record.set_boot_id("another boot");
  record.set_host("another host");
  put_record("sim", record);
  EXPECT_FALSE(jobs_.find("sim").has_value());
  jobs_.withdraw("sim", program.pid());
  EXPECT_TRUE(has_record("sim"));
  jobs_.announce("sim", program.pid());
  EXPECT_TRUE(jobs_.find("sim").has_value());
}

TEST_F(RunningJobsTest, EntryOfAnotherPidNamespaceIsLeftAlone) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  store::RunningRecord record = record_of("sim");
  record.set_pid_namespace(record.pid_namespace() + 1);
  put_record("sim", record);
  EXPECT_FALSE(jobs_.find("sim").has_value());
  EXPECT_TRUE(has_record("sim"));
}

TEST_F(RunningJobsTest, NonsenseIsNoEntry) {
  const ChildProcess program = make_program();
  jobs_.announce("sim", program.pid());
  for (const std::string& text : {std::string(""), std::string("\xff\xff\xff"), std::string("pid 12")}) {
    write_text(record_path("sim"), text);
    EXPECT_FALSE(jobs_.find("sim").has_value()) << text;
  }
  std::filesystem::remove(record_path("sim"));
  std::filesystem::create_symlink("/etc/passwd", record_path("sim"));
  EXPECT_FALSE(jobs_.find("sim").has_value());
  jobs_.announce("sim", program.pid());
  EXPECT_TRUE(jobs_.find("sim").has_value());
}

TEST_F(RunningJobsTest, WithdrawalEndsOnesOwnEntryOnly) {
  const ChildProcess first = make_program();
  const ChildProcess second = make_program();
  jobs_.withdraw("sim", first.pid());
  jobs_.announce("sim", first.pid());
  jobs_.withdraw("sim", second.pid());
  EXPECT_TRUE(jobs_.find("sim").has_value());
  jobs_.withdraw("sim", first.pid());
  EXPECT_FALSE(has_record("sim"));
}

TEST_F(RunningJobsTest, ProcessThatIsGoneCannotBeAnnounced) {
  ChildProcess program = make_program();
  const pid_t pid = program.pid();
  program.kill();
  program.wait();
  EXPECT_THAT(text_of_error(ErrorKind::ProgramGone, [&] { jobs_.announce("sim", pid); }), HasSubstr("has ended"));
}

TEST_F(RunningJobsTest, OnlyOneOfManyGetsTheName) {
  constexpr int kContenders = 8;
  std::vector<ChildProcess> contenders;
  int go[2];
  int lost[2];
  ASSERT_EQ(::pipe(go), 0);
  ASSERT_EQ(::pipe(lost), 0);
  for (int i = 0; i < kContenders; ++i) {
    contenders.emplace_back([&] {
      ::close(go[1]);
      char byte = 0;
      static_cast<void>(!::read(go[0], &byte, 1));
      Store store(directory_.path() + "/store");
      try {
        RunningJobs(store).announce("sim", ::getpid());
      } catch (const Error&) {
        static_cast<void>(!::write(lost[1], "l", 1));
      }
      ::pause();
      return 0;
    });
  }
  ::close(go[0]);
  ::close(go[1]);
  ::close(lost[1]);
  for (int losers = 0; losers < kContenders - 1; ++losers) {
    char byte = 0;
    ASSERT_EQ(::read(lost[0], &byte, 1), 1);
  }
  ::close(lost[0]);
  EXPECT_TRUE(jobs_.find("sim").has_value());
}

TEST(StartTime, IsReadBehindAnyName) {
  const std::string fields = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
  EXPECT_EQ(parse_start_time("12 (sim)" + fields), 4242U);
  EXPECT_EQ(parse_start_time("12 (a) b) (c S 1)" + fields), 4242U);
  EXPECT_EQ(parse_start_time("12 (sim) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 1 18 4242 20"), std::nullopt);
  EXPECT_EQ(parse_start_time("12 (sim) X 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 1 18 4242 20"), std::nullopt);
  // Only the main thread has ended, two others go on.
  EXPECT_EQ(parse_start_time("12 (sim) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 3 18 4242 20"), 4242U);
  for (const char* text : {"", "12", "12 (sim", "12 (sim)", "12 (sim) ", "12 (sim) S 1 2 3",
                           "12 (sim) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"}) {
    EXPECT_EQ(parse_start_time(text), std::nullopt) << text;
  }
  EXPECT_TRUE(start_time_of(::getpid()).has_value());
}

}  // namespace
}  // namespace crs
