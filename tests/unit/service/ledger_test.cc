#include "crs/ledger.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "crs/component.hpp"
#include "crs/error.hpp"

namespace crs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

class LedgerTest : public ::testing::Test {
 protected:
  int null_device() { return keep(::open("/dev/null", O_RDWR | O_CLOEXEC)); }
  int socket() { return keep(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
  int keep(int number) {
    kept_.push_back(number);
    return number;
  }
  // Of a layer 'messages', on a socket that another one takes the place of once the census is taken.
  Claim claim_made_anew(const std::function<bool()>& is_restarted) {
    const Claim claim = ledger_.claim(socket(), "messages");
    ledger_.take_census(is_restarted);
    EXPECT_EQ(::dup3(socket(), claim.number, O_CLOEXEC), claim.number);
    return claim;
  }
  // Puts another object behind a number.
  void replace(int number) {
    const int other = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ::dup3(other, number, O_CLOEXEC);
    ::close(other);
  }
  static bool is_open(int number) { return ::fcntl(number, F_GETFD) >= 0; }
  void TearDown() override {
    for (const int number : kept_) ::close(number);
  }

  Ledger ledger_;
  std::vector<int> kept_;
};

TEST_F(LedgerTest, ClosesWhatWasClaimed) {
  const int number = null_device();
  const Claim claim = ledger_.claim(number, "loop");
  EXPECT_EQ(ledger_.owner_of(number), "loop");
  EXPECT_TRUE(ledger_.is_mine(claim));
  EXPECT_TRUE(ledger_.close(claim));
  EXPECT_FALSE(is_open(number));
  EXPECT_EQ(ledger_.owner_of(number), "");
}

TEST_F(LedgerTest, ClosesInAThreadThatIsCancelled) {
  const int number = null_device();
  const Claim claim = ledger_.claim(number, "net");
  std::thread([&] {
    ::pthread_cancel(::pthread_self());
    ledger_.close(claim);
  }).join();
  EXPECT_FALSE(is_open(number));
}

TEST_F(LedgerTest, SparesWhatElseLiesBehindTheNumber) {
  const int number = socket();
  const Claim claim = ledger_.claim(number, "loop");
  replace(number);
  EXPECT_FALSE(ledger_.is_mine(claim));
  EXPECT_FALSE(ledger_.close(claim));
  EXPECT_TRUE(is_open(number));
}

TEST_F(LedgerTest, HasOneOwnerANumber) {
  const int number = null_device();
  ledger_.claim(number, "loop");
  EXPECT_THAT([&] { ledger_.claim(number, "messages"); },
              ThrowsMessage<Error>(HasSubstr("layer 'messages' claims descriptor " + std::to_string(number) +
                                             ", which layer 'loop' owns")));
}

TEST_F(LedgerTest, TakesAClaimOnANumberWhoseObjectIsNew) {
  const int number = socket();
  const Claim old_claim = ledger_.claim(number, "loop");
  replace(number);
  const Claim claim = ledger_.claim(number, "messages");
  EXPECT_GT(claim.generation, old_claim.generation);
  EXPECT_TRUE(ledger_.is_mine(claim));
  EXPECT_THAT([&] { ledger_.close(old_claim); },
              ThrowsMessage<Error>(HasSubstr("was replaced by that of layer 'messages'")));
  EXPECT_THAT([&] { ledger_.release(old_claim); }, ThrowsMessage<Error>(HasSubstr("was replaced")));
  EXPECT_TRUE(is_open(number));
}

TEST_F(LedgerTest, RefusesAClaimOnAFreeNumberAndASecondClose) {
  const int number = null_device();
  const Claim claim = ledger_.claim(number, "loop");
  ledger_.close(claim);
  EXPECT_THAT([&] { ledger_.close(claim); }, ThrowsMessage<Error>(HasSubstr("ended before")));
  EXPECT_THAT([&] { ledger_.claim(number, "loop"); }, ThrowsMessage<Error>(HasSubstr("is not open")));
}

TEST_F(LedgerTest, ForgetsAfterARestartWhatDidNotComeBack) {
  const int lost = socket();
  const int taken = socket();
  const int file = keep(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  const Claim lost_claim = ledger_.claim(lost, "messages");
  const Claim taken_claim = ledger_.claim(taken, "messages");
  const Claim file_claim = ledger_.claim(file, "log");
  ledger_.take_census();
  ::close(lost);
  replace(taken);
  const auto forgotten = ledger_.compare_after_restart({});
  EXPECT_THAT(forgotten, ElementsAre("descriptor " + std::to_string(lost) + " of layer 'messages' (socket)",
                                     "descriptor " + std::to_string(taken) + " of layer 'messages' (socket)"));
  EXPECT_FALSE(ledger_.close(lost_claim));
  EXPECT_FALSE(ledger_.close(taken_claim));
  EXPECT_TRUE(is_open(taken));
  EXPECT_TRUE(ledger_.is_mine(file_claim));
}

TEST_F(LedgerTest, KeepsWhatTheCheckpointerBringsBackUnderAnotherIdentity) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  keep(ends[0]), keep(ends[1]);
  const Claim claim = ledger_.claim(ends[0], "wake-up");
  ledger_.take_census();
  std::array<int, 2> others{};
  ASSERT_EQ(::pipe2(others.data(), O_CLOEXEC), 0);
  ::dup3(others[0], ends[0], O_CLOEXEC);
  ::close(others[0]), keep(others[1]);
  EXPECT_THAT(ledger_.compare_after_restart(Capabilities{.pipes = true}), IsEmpty());
  EXPECT_TRUE(ledger_.close(claim));
}

bool is_restarted() { return true; }
bool goes_on() { return false; }

// A thread that asks in the instant before the service has looked.
class Asking {
 public:
  explicit Asking(std::function<bool()> question) {
    std::promise<pid_t> id;
    answer_ = std::async(std::launch::async, [&id, question = std::move(question)] {
      id.set_value(::gettid());
      return question();
    });
    await_sleep_of(id.get_future().get());
  }
  bool answer() { return answer_.get(); }

 private:
  // Until it waits, or has its answer.
  void await_sleep_of(pid_t thread) const {
    std::string status;
    while (answer_.wait_for(std::chrono::seconds(0)) != std::future_status::ready && status != "S") {
      std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
      for (int field = 0; field < 3; ++field) stat >> status;
    }
  }

  std::future<bool> answer_;
};

TEST_F(LedgerTest, AnswersOthersInARestartedProcessWhenItHasCompared) {
  const Claim claim = claim_made_anew(is_restarted);
  Asking asking([&] { return ledger_.is_mine(claim); });
  EXPECT_THAT(ledger_.compare_after_restart(Capabilities{.local_sockets = true}), IsEmpty());
  EXPECT_TRUE(asking.answer());
}

// As where layers are quick: the thread that waited is not to wait for the second as well.
TEST_F(LedgerTest, AnswersOthersAlsoWhereTheNextCensusHasBegun) {
  const Claim claim = claim_made_anew(is_restarted);
  ledger_.limit_waits(std::chrono::seconds(2));
  Asking asking([&] { return ledger_.is_mine(claim); });
  ledger_.compare_after_restart(Capabilities{.local_sockets = true});
  ledger_.take_census(goes_on);
  EXPECT_TRUE(asking.answer());
}

TEST_F(LedgerTest, AnswersAClaimThatWasReplacedAtOnce) {
  const int number = socket();
  const Claim old_claim = ledger_.claim(number, "messages");
  ledger_.release(old_claim);
  const Claim claim = ledger_.claim(number, "loop");
  ledger_.limit_waits(std::chrono::milliseconds(1));
  ledger_.take_census(is_restarted);
  EXPECT_FALSE(Asking([&] { return ledger_.is_mine(old_claim); }).answer());
  ledger_.compare_after_restart({});
  EXPECT_TRUE(ledger_.is_mine(claim));
}

TEST_F(LedgerTest, RefusesAClaimThatWaitedForTheComparison) {
  const Claim claim = claim_made_anew(is_restarted);
  Asking asking([&] { return ledger_.claim(claim.number, "loop").generation != 0; });
  ledger_.compare_after_restart(Capabilities{.local_sockets = true});
  EXPECT_THAT([&] { asking.answer(); }, ThrowsMessage<Error>(HasSubstr("which layer 'messages' owns")));
  EXPECT_TRUE(ledger_.close(claim));
}

TEST_F(LedgerTest, AnswersOthersAtOnceInTheProcessThatGoesOnAndDoesNotTakeItBack) {
  const Claim claim = claim_made_anew(goes_on);
  EXPECT_FALSE(Asking([&] { return ledger_.is_mine(claim); }).answer());
  ledger_.compare_after_restart(Capabilities{.local_sockets = true});
  EXPECT_FALSE(ledger_.close(claim));
  EXPECT_TRUE(is_open(claim.number));
}

TEST_F(LedgerTest, ThrowsAtTheTimeLimitAndHasDoneNothing) {
  const Claim claim = claim_made_anew(is_restarted);
  ledger_.limit_waits(std::chrono::milliseconds(1));
  Asking asking([&] { return ledger_.close(claim); });
  EXPECT_THAT([&] { asking.answer(); }, ThrowsMessage<Error>(HasSubstr("crs_wait_limit")));
  ledger_.compare_after_restart(Capabilities{.local_sockets = true});
  EXPECT_TRUE(ledger_.close(claim));
}

// Whoever took the census is not there.
TEST_F(LedgerTest, DoesNotWaitInAForkedProcess) {
  const int number = socket();
  const Claim claim = ledger_.claim(number, "messages");
  std::thread([&] { ledger_.take_census(is_restarted); }).join();
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(10);
    replace(number);
    ::_exit(ledger_.is_mine(claim) ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A file that was replaced by a copy of itself, and what is made anew.
TEST_F(LedgerTest, KeepsFilesOfAnotherIdentityThatTheCheckpointerBringsBack) {
  const auto memory_file = [this] { return keep(::memfd_create("cells", MFD_CLOEXEC)); };
  const auto open_file = [this](const char* path) { return keep(::open(path, O_RDONLY | O_CLOEXEC)); };
  struct Case {
    int before;
    int after;
  };
  const std::vector<Case> cases = {{memory_file(), memory_file()},
                                   {open_file("/proc/self/status"), open_file("/proc/self/stat")},
                                   {open_file("/"), open_file("/proc")},
                                   {null_device(), open_file("/dev/zero")}};
  for (const bool brings_back : {true, false}) {
    for (const auto& [before, after] : cases) {
      const int number = keep(::fcntl(before, F_DUPFD_CLOEXEC, 0));
      const Claim claim = ledger_.claim(number, "log");
      ledger_.take_census();
      ASSERT_EQ(::dup3(after, number, O_CLOEXEC), number);
      EXPECT_EQ(ledger_.compare_after_restart(Capabilities{.files = brings_back}).empty(), brings_back);
      EXPECT_EQ(ledger_.close(claim), brings_back);
    }
  }
}

TEST_F(LedgerTest, TellsEventObjectsApartByKind) {
  const int number = keep(::eventfd(0, EFD_CLOEXEC));
  const auto identity = identify_descriptor(number);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->kind, DescriptorIdentity::Kind::Anonymous);
  EXPECT_EQ(identity->anonymous, "anon_inode:[eventfd]");
}

// T10.
TEST_F(LedgerTest, ClosesDuplicatesEachForItself) {
  const int number = socket();
  const int duplicate = keep(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  const Claim first = ledger_.claim(number, "messages");
  const Claim second = ledger_.claim(duplicate, "monitor");
  EXPECT_TRUE(ledger_.close(first));
  EXPECT_TRUE(is_open(duplicate));
  EXPECT_TRUE(ledger_.is_mine(second));
  EXPECT_TRUE(ledger_.close(second));
}

TEST_F(LedgerTest, DoesNotCloseANumberThatSomebodyWaitsOn) {
  const int number = socket();
  const Claim claim = ledger_.claim(number, "messages");
  const Use use = ledger_.add_use(claim, "event loop");
  EXPECT_THAT([&] { ledger_.close(claim); }, ThrowsMessage<Error>(HasSubstr("'event loop' still waits on it")));
  EXPECT_THAT([&] { ledger_.release(claim); }, ThrowsMessage<Error>(HasSubstr("'event loop' still waits on it")));
  EXPECT_TRUE(ledger_.is_usable(use));
  ledger_.end_use(use);
  EXPECT_FALSE(ledger_.is_usable(use));
  EXPECT_TRUE(ledger_.close(claim));
}

TEST_F(LedgerTest, StopsAUseWhoseObjectIsGone) {
  const int number = socket();
  const Use use = ledger_.add_use(ledger_.claim(number, "messages"), "event loop");
  replace(number);
  EXPECT_FALSE(ledger_.is_usable(use));
  ledger_.end_use(use);  // harmless
}

}  // namespace
}  // namespace crs
