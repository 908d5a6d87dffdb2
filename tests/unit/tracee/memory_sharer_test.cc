#include "engine/tracee/memory_sharer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "engine/resources/threads/timed_wait.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "test_program.h"

namespace crs::engine {
namespace {

std::string children_of(pid_t pid) {
  std::string children;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    std::ifstream file(task.path() / "children");
    std::string line;
    std::getline(file, line);
    children += line;
  }
  return children;
}

// Without those of the program's own threads, which come and go.
std::size_t descriptors_of(pid_t pid) {
  const std::filesystem::directory_iterator entries(fmt::format("/proc/{}/fd", pid));
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

void share_memory_of(pid_t pid) {
  const WaitsBefore waits(pid);
  StoppedProcess process(pid, [&](pid_t tid) { return waits.elapsed(tid); });
  note_limited_waits(process, waits, RememberedWaits({}, pid));
  const std::size_t descriptors = descriptors_of(pid);
  BorrowedProcess borrowed(process, find_gadgets(pid, process.memory()));
  {
    MemorySharer sharer(borrowed.main());
    ASSERT_EQ(sharer.call(SYS_getppid, {}), pid);
    // The lowest number is free: the sharer has descriptors of its own, and as yet none.
    ASSERT_EQ(sharer.call(SYS_eventfd2, {7, 0, 0, 0, 0, 0}), 0);
    std::uint64_t count = 0;
    ASSERT_EQ(::read(sharer.take_descriptor(0).get(), &count, sizeof count), ssize_t{sizeof count});
    ASSERT_EQ(count, 7U);
    ASSERT_EQ(descriptors_of(pid), descriptors);
  }
  ASSERT_EQ(children_of(pid), "");
  ASSERT_EQ(borrowed.main().call("getpid", SYS_getpid), pid);
}

TEST(MemorySharer, LeavesNothingBehind) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(5);
  for (int i = 0; i < 20; ++i) share_memory_of(program.pid());
  const unsigned long rounds = program.rounds();
  while (program.rounds() < rounds + 100) std::this_thread::yield();
  EXPECT_EQ(program.finish(), 0);
}

// What it maps is mapped in the program.
TEST(MemorySharer, SharesTheMemory) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  StoppedProcess process(program.pid());
  BorrowedProcess borrowed(process, find_gadgets(program.pid(), process.memory()));
  RemoteAddress place;
  {
    MemorySharer sharer(borrowed.main());
    place.value = static_cast<std::uint64_t>(sharer.call(
        SYS_mmap, {0, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0}));
  }
  process.memory().write_value(place, 4711);
  EXPECT_EQ(process.memory().read_value<int>(place), 4711);
  borrowed.main().call("munmap", SYS_munmap, place, kPageSize);
}

// A tracer that is killed at a random moment leaves neither a process nor a zombie, and a program that goes on.
TEST(MemorySharer, IsGoneAfterTheDeathOfTheTracer) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(3);
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int i = 0; i < 300; ++i) {
    const pid_t tracer = ::fork();
    if (tracer == 0) {
      while (true) share_memory_of(program.pid());
    }
    const timespec moment{0, static_cast<long>(random() % 8000000)};
    ::nanosleep(&moment, nullptr);
    ::kill(tracer, SIGKILL);
    ::waitpid(tracer, nullptr, 0);
    const unsigned long rounds = program.rounds();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (program.rounds() < rounds + 10 || !children_of(program.pid()).empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline)
          << "children: " << children_of(program.pid()) << " in round " << i << " of seed " << seed;
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(program.finish(), 0) << "seed " << seed;
}

}  // namespace
}  // namespace crs::engine
