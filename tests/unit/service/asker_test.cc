// What the service does for those who ask from outside: it gives up for askers that have gone, hands on what is not to
// be saved, and tells what a restart said.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "base/excluded_areas.h"
#include "base/file_descriptor.h"
#include "crs/error.hpp"
#include "service/own_memory.h"
#include "service/world.h"

namespace crs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class AskerTest : public ::testing::Test {
 protected:
  PretendedModule module_;
  Service service_{module_, Capabilities{}, counting_places()};
};

// Holds the turn until it is let go.
class Holding {
 public:
  Holding(Service& service, PretendedModule& module) : module_(module) {
    module.happen = [this] {
      holds_ = true;
      holds_.notify_all();
      released_.wait(false);
      return State::Continue;
    };
    thread_ = std::thread([&service] { service.checkpoint(); });
    holds_.wait(false);
  }
  ~Holding() {
    released_ = true;
    released_.notify_all();
    thread_.join();
    module_.happen = [] { return State::Continue; };
  }
  Holding(const Holding&) = delete;
  Holding& operator=(const Holding&) = delete;

 private:
  PretendedModule& module_;
  std::atomic<bool> holds_ = false;
  std::atomic<bool> released_ = false;
  std::thread thread_;
};

TEST_F(AskerTest, LeavesTheQueueWhenItsTimeIsOver) {
  {
    const Holding holding(service_, module_);
    ServiceCheckpointOptions options;
    options.turn_limit = 20ms;
    std::vector<std::string> stages;
    options.progress = [&](const Progress& progress) { stages.emplace_back(name_of(progress.stage)); };
    EXPECT_THAT([&] { service_.checkpoint(options); },
                ThrowsMessage<Error>(HasSubstr("another checkpoint of this program is still going on")));
    EXPECT_EQ(stages, (std::vector<std::string>{"accepted", "failed"}));
  }
  EXPECT_EQ(service_.checkpoint().reference, "test@2");
}

TEST_F(AskerTest, WaitsForALayerWithoutEndIfItIsToldSo) {
  class Slow : public Layer {
   public:
    Answer notify(State state) override {
      return state == State::Checkpoint && ++asked_ < 3 ? Answer::NotYet : Answer::Done;
    }

   private:
    int asked_ = 0;
  } layer;
  const LayerRegistration registration = service_.register_layer("slow", layer);
  ServiceCheckpointOptions options;
  options.time_limit = options.turn_limit = std::chrono::nanoseconds::max();
  EXPECT_EQ(service_.checkpoint(options).reference, "test@1");
}

TEST_F(AskerTest, ANewsOfItsProgressMayFailAtTheEnd) {
  ServiceCheckpointOptions options;
  options.progress = [](const Progress& progress) {
    if (progress.stage == Progress::Stage::Done || progress.stage == Progress::Stage::Failed)
      throw Error(ErrorKind::Failed, "nobody listens");
  };
  EXPECT_EQ(service_.checkpoint(options).reference, "test@1");
  module_.happen = []() -> State { throw Error(ErrorKind::Failed, "it cannot"); };
  EXPECT_THAT([&] { service_.checkpoint(options); }, ThrowsMessage<Error>(HasSubstr("it cannot")));
  module_.happen = [] { return State::Continue; };
}

TEST_F(AskerTest, LeavesTheQueueWhenItHasGone) {
  std::atomic<bool> gone = false;
  std::atomic<bool> refused = false;
  std::thread asker;
  {
    const Holding holding(service_, module_);
    std::atomic<bool> asked = false;
    ServiceCheckpointOptions options;
    options.given_up = [&] {
      asked = true;
      asked.notify_all();
      return gone.load();
    };
    asker = std::thread([this, options, &refused] {
      try {
        service_.checkpoint(options);
      } catch (const Error&) {
        refused = true;
      }
    });
    asked.wait(false);
    gone = true;
    service_.look_again();
    asker.join();
  }
  EXPECT_TRUE(refused);
  EXPECT_EQ(service_.checkpoint().reference, "test@2");
}

TEST_F(AskerTest, NoLongerWaitsForASectionWhenItHasGone) {
  std::atomic<bool> gone = false;
  std::atomic<bool> entered = false;
  std::atomic<bool> leave = false;
  std::thread solver([&] {
    const CriticalSection section(service_.critical_sections());
    entered = true;
    entered.notify_all();
    leave.wait(false);
  });
  entered.wait(false);
  ServiceCheckpointOptions options;
  options.time_limit = 1h;
  options.given_up = [&] { return gone.load(); };
  options.progress = [&](const Progress& progress) {
    if (progress.stage == Progress::Stage::Delayed) gone = true;
  };
  EXPECT_THAT([&] { service_.checkpoint(options); }, ThrowsMessage<Error>(HasSubstr("has gone")));
  leave = true;
  leave.notify_all();
  solver.join();
  EXPECT_EQ(service_.checkpoint().reference, "test@1");
}

class Mapped {
 public:
  explicit Mapped(std::size_t pages, int descriptor = -1)
      : bytes_(pages * page()),
        start_(::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | (descriptor < 0 ? MAP_ANONYMOUS : 0),
                      descriptor, 0)) {
    EXPECT_NE(start_, MAP_FAILED);
  }
  ~Mapped() { ::munmap(start_, bytes_); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  static std::size_t page() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }
  char* at(std::size_t pages, std::size_t more = 0) const { return static_cast<char*>(start_) + pages * page() + more; }
  // [first, end) in pages from the beginning.
  MemoryRange range(std::size_t first, std::size_t end) const {
    return {reinterpret_cast<std::uintptr_t>(at(first)), reinterpret_cast<std::uintptr_t>(at(end))};
  }

 private:
  std::size_t bytes_;
  void* start_;
};

std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs_of(const std::vector<MemoryRange>& ranges) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs;
  pairs.reserve(ranges.size());
  for (const MemoryRange& range : ranges) pairs.emplace_back(range.start, range.end);
  return pairs;
}

TEST_F(AskerTest, OnlyWholePagesAreExcluded) {
  const Mapped area(8);
  const std::size_t page = Mapped::page();
  service_.exclude_memory(area.at(0, 1), 3 * page);
  service_.exclude_memory(area.at(0, 1), page);  // no whole page
  EXPECT_THROW(service_.exclude_memory(area.at(0), SIZE_MAX), Error);
  EXPECT_THROW(service_.include_memory(area.at(0), SIZE_MAX), Error);
  EXPECT_EQ(pairs_of(service_.excluded_memory()), pairs_of({area.range(1, 3)}));
  service_.include_memory(area.at(0, 1), 3 * page);
  EXPECT_TRUE(service_.excluded_memory().empty());
}

TEST_F(AskerTest, WhatIsIncludedIsCutOutOfEveryArea) {
  const Mapped area(8);
  const std::size_t page = Mapped::page();
  service_.exclude_memory(area.at(0), 8 * page);
  service_.exclude_memory(area.at(2), 2 * page);
  service_.include_memory(area.at(3, 5), 0);
  EXPECT_EQ(pairs_of(service_.excluded_memory()), pairs_of({area.range(0, 8)}));
  service_.include_memory(area.at(3, 5), 1);
  EXPECT_EQ(pairs_of(service_.excluded_memory()), pairs_of({area.range(0, 3), area.range(4, 8)}));
  service_.include_memory(area.at(1, page - 1), page);
  EXPECT_EQ(pairs_of(service_.excluded_memory()), pairs_of({area.range(0, 1), area.range(4, 8)}));
}

TEST_F(AskerTest, MemoryThatIsExcludedAgainAndAgainIsOneArea) {
  const Mapped area(8);
  const std::size_t page = Mapped::page();
  for (int i = 0; i < 1000; ++i) service_.exclude_memory(area.at(6), page);
  service_.exclude_memory(area.at(0), page);
  service_.exclude_memory(area.at(2), 2 * page);
  service_.exclude_memory(area.at(1), page);
  EXPECT_EQ(pairs_of(service_.excluded_memory()), pairs_of({area.range(0, 4), area.range(6, 7)}));
  ServiceCheckpointOptions options;
  options.exclude = {area.range(3, 5), area.range(3, 5)};
  service_.checkpoint(options);
  EXPECT_EQ(pairs_of(module_.excluded), pairs_of({area.range(0, 5), area.range(6, 7)}));
}

TEST_F(AskerTest, MoreAreasThanARestartCouldTellOfAreRefused) {
  const std::size_t most = kMostExcludedAreas;
  const Mapped area(2 * (most + 1));
  service_.exclude_memory(area.at(0), (2 * most + 1) * Mapped::page());
  for (std::size_t i = 0; i < most; ++i) service_.include_memory(area.at(2 * i + 1), 1);
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(HasSubstr("at most 32768 can be")));
  service_.include_memory(area.at(0), 1);
  EXPECT_EQ(service_.checkpoint().reference, "test@1");
  EXPECT_EQ(module_.excluded.size(), most);
}

TEST_F(AskerTest, WhatCannotBeLeftOutIsRefusedAtOnce) {
  const std::size_t page = Mapped::page();
  const auto refusal = [&](const void* start, std::size_t bytes) -> std::string {
    try {
      service_.exclude_memory(start, bytes);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      return error.what();
    }
    return "";
  };
  std::vector<char> on_heap(1U << 20);
  char on_stack[1U << 16];
  const FileDescriptor file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const Mapped of_file(2, file.get());
  EXPECT_EQ(refusal(on_heap.data(), on_heap.size()), "");
  EXPECT_THAT(refusal(nullptr, 4 * page), HasSubstr("no memory there"));
  EXPECT_THAT(refusal(on_stack, sizeof on_stack), HasSubstr("stack"));
  EXPECT_THAT(refusal(of_file.at(0), 2 * page), HasSubstr("a mapping of /"));
  std::thread([&] {
    char on_other[1U << 16];
    EXPECT_THAT(refusal(on_other, sizeof on_other), HasSubstr("the calling thread's stack"));
  }).join();
  const Mapped area(4);
  ::munmap(area.at(2), page);
  EXPECT_THAT(refusal(area.at(0), 4 * page), HasSubstr("no memory there"));
  EXPECT_EQ(service_.excluded_memory().size(), 1U);
}

TEST_F(AskerTest, WhatWasUnmappedSinceIsPassedOver) {
  const Mapped area(4);
  service_.exclude_memory(area.at(0), 4 * Mapped::page());
  ::munmap(area.at(1), Mapped::page());
  EXPECT_EQ(pairs_of(parts_to_leave_out(service_.excluded_memory())), pairs_of({area.range(0, 1), area.range(2, 4)}));
  service_.checkpoint();
  EXPECT_EQ(pairs_of(module_.excluded), pairs_of({area.range(0, 1), area.range(2, 4)}));
}

TEST_F(AskerTest, AServiceThatEndsWaitsForCheckpoints) {
  std::promise<void> at_it;
  std::promise<void> go;
  std::atomic<bool> is_done = false;
  module_.happen = [&] {
    at_it.set_value();
    go.get_future().wait();
    EXPECT_THROW(service_.end(), Error);  // by the thread that carries the checkpoint out
    is_done = true;
    return State::Continue;
  };
  std::thread asker([&] { service_.checkpoint(); });
  at_it.get_future().wait();
  std::thread next(
      [&] { EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(HasSubstr("ends its service"))); });
  std::thread ending([&] {
    service_.end();
    EXPECT_TRUE(is_done);
  });
  next.join();  // it hears of it before the first one is done
  go.set_value();
  ending.join();
  asker.join();
  EXPECT_THAT([&] { service_.checkpoint(); }, ThrowsMessage<Error>(HasSubstr("ends its service")));
}

// The thread that ends the service may be the very one whose section is waited for.
TEST_F(AskerTest, AServiceThatEndsDoesNotWaitForWhatSomebodyOutsideWaitsFor) {
  std::promise<void> delayed;
  ServiceCheckpointOptions options;
  options.time_limit = 1h;
  options.given_up = [] { return false; };
  options.progress = [&, is_told = false](const Progress& progress) mutable {
    if (progress.stage == Progress::Stage::Delayed && !std::exchange(is_told, true)) delayed.set_value();
  };
  std::optional<CriticalSection> section(service_.critical_sections());
  std::thread asker(
      [&] { EXPECT_THAT([&] { service_.checkpoint(options); }, ThrowsMessage<Error>(HasSubstr("ends its service"))); });
  delayed.get_future().wait();
  service_.end();
  asker.join();
}

TEST_F(AskerTest, WithoutARestartTheEnvironmentIsTheProgramsOwn) {
  EXPECT_FALSE(service_.news());
  EXPECT_EQ(service_.environment("PATH"), std::string(std::getenv("PATH")));
  EXPECT_FALSE(service_.environment("CRS_NO_SUCH_VARIABLE"));
}

}  // namespace
}  // namespace crs::testing
