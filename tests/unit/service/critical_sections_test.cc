#include "crs/critical_sections.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "crs/error.hpp"

namespace crs {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

constexpr auto kLong = 20s;  // a limit that no test is to reach

// A thread that is in a critical section until it is told to go on.
class Inside {
 public:
  Inside(CriticalSections& sections, const std::string& name, bool leaves = true) {
    thread_ = std::thread([this, &sections, name, leaves] {
      sections.register_thread(name);
      sections.enter();
      entered_.set_value();
      go_.get_future().wait();
      if (leaves) sections.leave();
    });
    entered_.get_future().wait();
  }
  void go() { go_.set_value(); }
  ~Inside() { thread_.join(); }

 private:
  std::promise<void> entered_;
  std::promise<void> go_;
  std::thread thread_;
};

TEST(CriticalSections, NestAndAreCountedForEachThread) {
  CriticalSections sections;
  const CriticalSection outer(sections);
  {
    const CriticalSection inner(sections);
    EXPECT_EQ(sections.depth(), 2);
    EXPECT_EQ(std::async(std::launch::async, [&] { return sections.depth(); }).get(), 0);
  }
  EXPECT_EQ(sections.depth(), 1);
}

TEST(CriticalSections, DelayACheckpointAndSayByWhom) {
  CriticalSections sections;
  Inside solver(sections, "solver");
  std::vector<std::string> said;
  const CriticalSections::Closed closed(sections, kLong, [&](const Delay& delay) {
    said.push_back(delay.text());
    if (said.size() == 2) solver.go();
  });
  ASSERT_EQ(said.size(), 2U);
  EXPECT_THAT(said[0], StartsWith("delayed 0.0 s by thread 'solver' in a critical section"));
  EXPECT_THAT(said[1], StartsWith("delayed 0.1 s by thread 'solver'"));
}

TEST(CriticalSections, LetAThreadNestWhileACheckpointWaits) {
  CriticalSections sections;
  std::promise<void> waiting;
  std::thread thread([&] {
    const CriticalSection outer(sections);
    waiting.set_value();
    // The closer waits for this thread by now, or will: both must let the inner section through.
    for (int round = 0; round < 1000; ++round) const CriticalSection inner(sections);
  });
  waiting.get_future().wait();
  {
    const CriticalSections::Closed closed(sections, kLong, {});
  }
  thread.join();
}

TEST(CriticalSections, KeepThreadsOutWhileACheckpointIsTaken) {
  CriticalSections sections;
  std::atomic<bool> entered = false;
  std::thread thread;
  {
    const CriticalSections::Closed closed(sections, kLong, {});
    std::promise<void> started;
    thread = std::thread([&] {
      started.set_value();
      const CriticalSection section(sections);
      entered = true;
    });
    started.get_future().wait();
    EXPECT_FALSE(entered);
    const CriticalSection own(sections);  // the one who carries it out does not wait for itself
    EXPECT_FALSE(entered);
  }
  thread.join();
  EXPECT_TRUE(entered);
}

TEST(CriticalSections, AreNotWaitedForLongerThanWasSaid) {
  CriticalSections sections;
  sections.limit_waits(50ms);
  std::optional<CriticalSections::Closed> closed;
  closed.emplace(sections, 0ms, nullptr);
  std::thread([&] {
    sections.register_thread("solver");
    EXPECT_THAT([&] { sections.enter(); },
                ThrowsMessage<Error>(AllOf(HasSubstr("thread 'solver' cannot enter a critical section"),
                                           HasSubstr("not over after 0.05 s"), HasSubstr("crs_wait_limit"))));
    EXPECT_EQ(sections.depth(), 0);
    closed.reset();
    sections.enter();
    sections.leave();
  }).join();
}

TEST(CriticalSections, GiveUpAfterTheTimeLimitAndOpenAgain) {
  CriticalSections sections;
  Inside solver(sections, "solver");
  EXPECT_THAT([&] { const CriticalSections::Closed closed(sections, 30ms, {}); },
              ThrowsMessage<Error>(HasSubstr("by thread 'solver' in a critical section")));
  EXPECT_THAT([&] { const CriticalSections::Closed closed(sections, 0s, {}); },
              ThrowsMessage<Error>(HasSubstr("delayed 0.0 s")));
  const CriticalSection section(sections);  // would hang if it were still closed
  solver.go();
}

TEST(CriticalSections, EndWithAThreadThatDiesInsideOne) {
  CriticalSections sections;
  {
    Inside solver(sections, "solver", false);
    solver.go();
  }
  const CriticalSections::Closed closed(sections, kLong, {});
}

// What the hooks heard: '+' for each section entered, '-' for each left.
struct Heard {
  std::mutex mutex;
  std::string text;
  void note(char what) {
    const std::lock_guard lock(mutex);
    text += what;
  }
  SectionHooks hooks() {
    return {[this] { note('+'); }, [this] { note('-'); }};
  }
};

TEST(CriticalSections, TellTheHooksOfEachAndOfThoseThatAThreadHasNotLeft) {
  Heard heard;
  CriticalSections sections(heard.hooks());
  {
    const CriticalSection outer(sections);
    const CriticalSection inner(sections);
  }
  EXPECT_EQ(heard.text, "++--");
  std::promise<void> inside;
  std::promise<void> go;
  std::thread thread([&] {
    sections.enter();
    sections.enter();
    inside.set_value();
    go.get_future().wait();
  });
  inside.get_future().wait();
  const CriticalSections::Closed closed(sections, kLong, [&, gone = false](const Delay&) mutable {
    if (!std::exchange(gone, true)) go.set_value();
  });
  // Whoever waited goes on only when they have heard.
  EXPECT_EQ(heard.text, "++--++--");
  thread.join();
}

TEST(CriticalSections, AreLeftAndEnteredAsHooksThatFailLetThem) {
  bool fails = false;
  const auto hook = [&] {
    if (fails) throw Error(ErrorKind::Failed, "not now");
  };
  CriticalSections sections({hook, hook});
  fails = true;
  EXPECT_THAT([&] { sections.enter(); }, ThrowsMessage<Error>(HasSubstr("not now")));
  EXPECT_EQ(sections.depth(), 0);
  fails = false;
  sections.enter();
  fails = true;
  EXPECT_THAT([&] { sections.leave(); }, ThrowsMessage<Error>(HasSubstr("not now")));
  EXPECT_EQ(sections.depth(), 0);
  std::thread([&] {
    fails = false;
    sections.enter();
    fails = true;
  }).join();
  const CriticalSections::Closed closed(sections, kLong, {});
}

TEST(CriticalSections, CallNoHookOfAThreadThatEndsAfterThem) {
  Heard heard;
  std::promise<void> gone;
  std::thread thread;
  {
    CriticalSections sections(heard.hooks());
    std::promise<void> inside;
    thread = std::thread([&, until = gone.get_future()] {
      sections.enter();
      inside.set_value();
      until.wait();
    });
    inside.get_future().wait();
  }
  gone.set_value();
  thread.join();
  EXPECT_EQ(heard.text, "+");
}

// A thread that is cancelled in the middle of one: the hooks are told with calls at which it could be.
template <typename Action>
bool is_cancelled_after(const Action& action) {
  bool outlived = false;
  std::thread([&] {
    ::pthread_cancel(::pthread_self());
    action();
    ::pthread_testcancel();
    outlived = true;
  }).join();
  return !outlived;
}

TEST(CriticalSections, AreLeftByAThreadThatIsCancelled) {
  Heard heard;
  CriticalSections sections({{}, [&] {
                               ::pthread_testcancel();
                               heard.note('-');
                             }});
  EXPECT_TRUE(is_cancelled_after([&] { const CriticalSection section(sections); }));
  EXPECT_EQ(heard.text, "-");
  std::thread([&] {
    sections.enter();
    ::pthread_cancel(::pthread_self());
  }).join();
  EXPECT_EQ(heard.text, "--");
  const CriticalSections::Closed closed(sections, kLong, {});
}

// The thread that forks has used sections of the process before.
TEST(CriticalSections, EndWithTheThreadThatForkedItsProcess) {
  CriticalSections before;
  pid_t child = -1;
  std::thread([&] {
    {
      const CriticalSection section(before);
    }
    child = ::fork();
    if (child != 0) return;
    static CriticalSections sections;  // outlives this thread
    sections.enter();
    std::thread([] {
      try {
        const CriticalSections::Closed closed(sections, 5s, {});
        ::_exit(0);
      } catch (const Error&) {
        ::_exit(1);
      }
    }).detach();
  }).join();
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(CriticalSections, RefuseToWaitForThemselves) {
  CriticalSections sections;
  const CriticalSection section(sections);
  EXPECT_THAT([&] { const CriticalSections::Closed closed(sections, kLong, {}); },
              ThrowsMessage<Error>(HasSubstr("in a critical section itself")));
}

TEST(CriticalSections, ReportALeaveWithoutAnEnter) {
  CriticalSections sections;
  EXPECT_THAT([&] { sections.leave(); }, ThrowsMessage<Error>(HasSubstr("without being in one")));
}

TEST(CriticalSections, OpenAgainIfTheOneWhoIsToldThrows) {
  CriticalSections sections;
  Inside solver(sections, "solver");
  EXPECT_THROW(
      const CriticalSections::Closed closed(sections, kLong, [](const Delay&) { throw std::runtime_error("gone"); }),
      std::runtime_error);
  const CriticalSection section(sections);
  solver.go();
}

TEST(CriticalSections, MayEndBeforeAThreadThatUsedThem) {
  std::promise<void> used;
  std::promise<void> gone;
  std::thread thread;
  {
    CriticalSections sections;
    thread = std::thread([&sections, &used, &gone] {
      {
        const CriticalSection section(sections);
      }
      used.set_value();
      gone.get_future().wait();
    });
    used.get_future().wait();
  }
  gone.set_value();
  thread.join();
}

}  // namespace
}  // namespace crs
