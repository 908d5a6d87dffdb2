#include "cli/program_tree.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"

namespace crs::cli {
namespace {

using Clock = std::chrono::steady_clock;

template <typename Condition>
bool comes_true(const Condition& condition) {
  for (const auto end = Clock::now() + std::chrono::seconds(20); Clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

char state_of(pid_t pid) {
  const engine::ProcessStatus status = engine::ProcessStatus::of(pid);
  return status.field("State").value_or("?").front();
}

[[noreturn]] void wait_for_ever() {
  for (;;) ::pause();
}

// A program in a process group of its own, whose orphans come to this process. The destructor ends what is left.
class ProgramTreeTest : public testing::Test {
 protected:
  void SetUp() override { ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }
  void TearDown() override {
    if (root_ > 0) ::kill(-root_, SIGKILL);
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  }

  void start(const std::function<void()>& program) {
    root_ = ::fork();
    if (root_ == 0) {
      ::setpgid(0, 0);
      program();
      wait_for_ever();
    }
    ::setpgid(root_, root_);
  }

  // A child, and its child.
  void start_family() {
    start([] {
      if (::fork() == 0 && ::fork() == 0) wait_for_ever();
    });
    ASSERT_TRUE(comes_true([&] { return engine::tree_of(root_).size() == 3; }));
    for (const engine::TreeProcess& one : engine::tree_of(root_)) pids_.push_back(one.pid);
  }

  bool all_are(char state) const {
    return std::ranges::all_of(pids_, [&](pid_t pid) { return state_of(pid) == state; });
  }

  // Whether nobody of the group runs any more. Takes those away that have ended.
  static bool all_have_ended() {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return ::waitpid(-1, nullptr, WNOHANG) < 0;
  }

  pid_t root_ = 0;
  std::vector<pid_t> pids_;
};

TEST_F(ProgramTreeTest, StopsAndContinuesAll) {
  start_family();
  ProgramTree(root_).stop();
  EXPECT_TRUE(all_are('T'));
  ProgramTree(root_).go_on();
  EXPECT_TRUE(comes_true([&] { return all_are('S'); }));
}

TEST_F(ProgramTreeTest, LeavesThoseStoppedThatTheProgramHasStopped) {
  start_family();
  ::kill(pids_.back(), SIGSTOP);
  ASSERT_TRUE(comes_true([&] { return state_of(pids_.back()) == 'T'; }));
  ProgramTree tree(root_);
  tree.note_stopped();
  ProgramTree(root_).stop();
  tree.go_on();
  EXPECT_TRUE(comes_true([&] { return state_of(pids_[0]) == 'S' && state_of(pids_[1]) == 'S'; }));
  EXPECT_EQ(state_of(pids_[2]), 'T');
  tree.end();
  EXPECT_TRUE(comes_true(all_have_ended));
}

TEST_F(ProgramTreeTest, EndsAll) {
  start_family();
  ProgramTree(root_).end();
  EXPECT_TRUE(comes_true(all_have_ended));
}

TEST_F(ProgramTreeTest, EndsThoseWhoseRootHasEndedMeanwhile) {
  start_family();
  ProgramTree tree(root_);
  tree.stop();
  tree.go_on();
  ::kill(root_, SIGKILL);
  EXPECT_EQ(::waitpid(root_, nullptr, 0), root_);
  tree.end();
  EXPECT_TRUE(comes_true(all_have_ended));
}

TEST_F(ProgramTreeTest, NobodyForksAway) {
  start([] {
    for (int i = 0; i < 2000; ++i) {
      if (::fork() == 0) wait_for_ever();
      ::usleep(100);
    }
  });
  ASSERT_TRUE(comes_true([&] { return engine::tree_of(root_).size() > 20; }));
  ProgramTree(root_).end();
  EXPECT_TRUE(comes_true(all_have_ended));
}

TEST_F(ProgramTreeTest, WhoHasEndedIsNoError) {
  start_family();
  ProgramTree tree(root_);
  ::kill(-root_, SIGKILL);
  ASSERT_TRUE(comes_true(all_have_ended));
  EXPECT_NO_THROW(tree.go_on());
  EXPECT_NO_THROW(tree.stop());
  EXPECT_NO_THROW(tree.end());
}

}  // namespace
}  // namespace crs::cli
