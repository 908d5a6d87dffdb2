#include "cli/jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "crs/error.hpp"

namespace crs::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(DefaultJobName, IsTheBaseNameAndTheProcessId) {
  EXPECT_EQ(default_job_name("/usr/bin/python3", 4711), "python3-4711");
  EXPECT_EQ(default_job_name("sim", 1), "sim-1");
  EXPECT_EQ(default_job_name("./a b\n", 2), "a_b_-2");
  EXPECT_EQ(default_job_name("-bash", 3), "bash-3");
  EXPECT_EQ(default_job_name("...", 4), "program-4");
  EXPECT_EQ(default_job_name("", 5), "program-5");
  for (const std::string& odd :
       {std::string(5000, 'x'), std::string("/"), std::string("\xff\xfe"), std::string("//")}) {
    EXPECT_NO_THROW(check_job_name(default_job_name(odd, 2147483647)));
  }
}

TEST(ChosenJobName, IsNoNumber) {
  check_chosen_job_name("4a");
  EXPECT_THROW(check_chosen_job_name("4711"), Error);
  EXPECT_THROW(check_chosen_job_name("a/b"), Error);
  EXPECT_THROW(check_chosen_job_name(""), Error);
}

// A child that waits; ended and reaped at the end of the scope.
class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      while (true) ::pause();
    }
  }
  ~Child() {
    end();
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // It ends but is not waited for.
  void end() const {
    ::kill(pid_, SIGKILL);
    siginfo_t information;
    ::waitid(P_PID, static_cast<id_t>(pid_), &information, WEXITED | WNOWAIT);
  }

 private:
  pid_t pid_;
};

class FindTargetTest : public testing::Test {
 protected:
  FindTargetTest() {
    std::string pattern = testing::TempDir() + "crs-jobs-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    store_.emplace(directory_.native());
  }
  ~FindTargetTest() override { std::filesystem::remove_all(directory_); }

  Error error_for(const std::string& text) {
    try {
      find_target(*store_, text);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << text << " was found";
    return {ErrorKind::Failed, ""};
  }

  std::filesystem::path directory_;
  std::optional<Store> store_;
};

TEST_F(FindTargetTest, AnAnnouncedJobIsFoundByNameAndById) {
  // This test program itself stands for crs, so the job must be another executable.
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execlp("sleep", "sleep", "60", nullptr);
    ::_exit(127);
  }
  while (std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe") ==
         std::filesystem::read_symlink("/proc/self/exe"))
    ::sched_yield();
  {
    const Announcement announcement(*store_, "sim", pid);
    EXPECT_EQ(find_target(*store_, "sim").pid, pid);
    EXPECT_EQ(find_target(*store_, std::to_string(pid)).job, "sim");
    EXPECT_THAT(error_for("sin").what(), HasSubstr("'sim'"));
    EXPECT_THROW(Announcement(*store_, "sim", ::getpid()), Error);
  }
  EXPECT_EQ(error_for("sim").kind(), ErrorKind::NotFound);
  EXPECT_EQ(find_target(*store_, std::to_string(pid)).job, "sleep-" + std::to_string(pid));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST_F(FindTargetTest, ARunnerLeadsToItsProgram) {
  // As `crs run`: a process of this executable with the program below it.
  int channel[2];
  ASSERT_EQ(::pipe(channel), 0);
  const pid_t runner = ::fork();
  if (runner == 0) {
    const pid_t program = ::fork();
    if (program == 0) {
      ::execlp("sleep", "sleep", "60", nullptr);
      ::_exit(127);
    }
    static_cast<void>(!::write(channel[1], &program, sizeof program));
    while (true) ::pause();
  }
  pid_t program = 0;
  ASSERT_EQ(::read(channel[0], &program, sizeof program), static_cast<ssize_t>(sizeof program));
  {
    const Announcement announcement(*store_, "sim", program);
    const Target target = find_target(*store_, std::to_string(runner));
    EXPECT_EQ(target.pid, program);
    EXPECT_EQ(target.job, "sim");
  }
  EXPECT_THAT(error_for(std::to_string(runner)).what(), HasSubstr("crs itself"));
  ::kill(program, SIGKILL);
  ::kill(runner, SIGKILL);
  ::waitpid(runner, nullptr, 0);
  ::close(channel[0]);
  ::close(channel[1]);
}

TEST_F(FindTargetTest, WhatCannotBeTakenIsNamed) {
  EXPECT_EQ(error_for(std::to_string(::getpid())).kind(), ErrorKind::Usage);
  EXPECT_EQ(error_for("0").kind(), ErrorKind::NotFound);
  EXPECT_EQ(error_for("99999999999999999999").kind(), ErrorKind::NotFound);
  EXPECT_EQ(error_for("2147483647").kind(), ErrorKind::NotFound);
  EXPECT_EQ(error_for("sim@3").kind(), ErrorKind::Usage);
  EXPECT_EQ(error_for("no such").kind(), ErrorKind::Usage);
  const Child child;
  child.end();
  const Error zombie = error_for(std::to_string(child.pid()));
  EXPECT_EQ(zombie.kind(), ErrorKind::NotFound);
  EXPECT_THAT(zombie.what(), AllOf(HasSubstr("zombie"), HasSubstr(std::to_string(child.pid()))));
}

TEST_F(FindTargetTest, ARestartOnItsWayIsNoProgram) {
  const Child restart;
  const Announcement announcement(*store_, "sim", restart.pid(), Runner::Restart);
  const Error error = error_for(std::to_string(restart.pid()));
  EXPECT_EQ(error.kind(), ErrorKind::Failed);
  EXPECT_THAT(error.what(), HasSubstr("the job sim is just being restarted"));
}

TEST_F(FindTargetTest, AnAnnouncementCanBeHandedOver) {
  const Child child;
  {
    Announcement announcement(*store_, "sim", ::getpid());
    announcement.hand_over(child.pid());
    EXPECT_EQ(RunningJobs(*store_).find("sim")->pid, child.pid());
    announcement.keep();
  }
  EXPECT_EQ(RunningJobs(*store_).find("sim")->pid, child.pid());
}

}  // namespace
}  // namespace crs::cli
