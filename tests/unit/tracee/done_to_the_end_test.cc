#include "engine/tracee/done_to_the_end.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "engine/tracee/child_signal.h"
#include "pages/child.h"

namespace crs::engine {
namespace {

TEST(DoneToTheEnd, GivesWhatTheActionGives) {
  const std::string much(10'000'000, 'x');
  EXPECT_EQ(done_to_the_end([&] { return much; }), much);
  EXPECT_EQ(done_to_the_end([] { return std::string(); }), "");
}

TEST(DoneToTheEnd, ThrowsWhatTheActionThrows) {
  try {
    done_to_the_end([]() -> std::string { throw Error(ErrorKind::Refused, "not this").advise("Take that"); });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Refused);
    EXPECT_EQ(error.chain().front(), "not this");
    EXPECT_EQ(error.advice(), "Take that");
  }
}

TEST(DoneToTheEnd, GoesOnAfterOneOfSeveralThatFails) {
  const std::vector<Outcome> outcomes = each_done_to_the_end(3, [](std::size_t i) -> std::string {
    if (i == 1) throw Error(ErrorKind::Refused, "not this").advise("Take that");
    return i == 0 ? std::string() : std::string("two\0", 4);
  });
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_FALSE(outcomes[0].problem);
  EXPECT_EQ(outcomes[0].result, "");
  ASSERT_TRUE(outcomes[1].problem);
  EXPECT_EQ(outcomes[1].problem->kind(), ErrorKind::Refused);
  EXPECT_EQ(outcomes[1].problem->chain().front(), "not this");
  EXPECT_EQ(outcomes[2].result, std::string("two\0", 4));
}

struct Noted {
  std::atomic<bool> begun = false;
  std::atomic<bool> killed = false;
  std::atomic<bool> done = false;
  std::atomic<char> state_after = '?';
};

char state_of_process(pid_t pid) {
  const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
  return text.at(text.rfind(')') + 2);
}

// Nothing is done before the killed process stops in its exit, and its tracee stays stopped until all is done.
void hold_and_note(pid_t caller, pid_t program, Noted& noted) {
  noted.begun = true;
  const auto is_alive = [&] { return std::string("tZ").find(state_of_process(caller)) == std::string::npos; };
  while (!noted.killed || is_alive()) ::sched_yield();
  noted.state_after = state_of_process(program);
  noted.done = true;
}

TEST(DoneToTheEnd, OutlivesItsCallerWhoseTraceesStayStopped) {
  void* const place = ::mmap(nullptr, sizeof(Noted), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  Noted& noted = *new (place) Noted;
  const test::Child program([] { return true; });
  const pid_t caller = ::fork();
  if (caller == 0) {
    const ChildSignalBlocked child_signal;
    int status = 0;
    const bool stopped = ::ptrace(PTRACE_SEIZE, program.pid(), nullptr, nullptr) == 0 &&
                         ::ptrace(PTRACE_INTERRUPT, program.pid(), nullptr, nullptr) == 0 &&
                         ::waitpid(program.pid(), &status, __WALL) == program.pid();
    const pid_t self = ::getpid();
    if (stopped) {
      done_to_the_end([&] {
        hold_and_note(self, program.pid(), noted);
        return std::string();
      });
    }
    ::_exit(1);
  }
  while (!noted.begun) ::sched_yield();
  ::kill(caller, SIGKILL);
  noted.killed = true;
  int status = 0;
  ASSERT_EQ(::waitpid(caller, &status, 0), caller);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_TRUE(noted.done);
  EXPECT_EQ(noted.state_after, 't');
  while (state_of_process(program.pid()) == 't') ::sched_yield();
  ::munmap(place, sizeof(Noted));
}

}  // namespace
}  // namespace crs::engine
