#include "engine/tracee/twin.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "engine/tracee/child_signal.h"
#include "pages/child.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kPlace = 0x566000000000;

bool map_counter() {
  void* const place = reinterpret_cast<void*>(kPlace);
  return ::mmap(place, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
         place;
}

// Counts as fast as it can.
bool count_for_ever() {
  if (!map_counter()) return false;
  std::thread([] {
    auto* const counter = reinterpret_cast<std::atomic<std::uint64_t>*>(kPlace);
    while (true) counter->fetch_add(1);
  }).detach();
  return true;
}

std::unique_ptr<Twin> twin_of(const StoppedProcess& process) {
  BorrowedProcess borrowed(process, find_gadgets(process.pid(), process.memory()));
  return std::make_unique<Twin>(borrowed);
}

std::uint64_t count_in(const RemoteMemory& memory) { return memory.read_value<std::uint64_t>({kPlace}); }

TEST(Twin, KeepsTheMemoryWhileTheProgramGoesOn) {
  const ChildSignalBlocked child_signal;
  const test::Child child(count_for_ever);
  const RemoteMemory program(child.pid());
  std::unique_ptr<Twin> twin;
  std::uint64_t count = 0;
  {
    const StoppedProcess process(child.pid());
    twin = twin_of(process);
    count = count_in(program);
  }
  const pid_t pid = twin->pid();
  while (count_in(program) < count + 100000) std::this_thread::yield();
  EXPECT_EQ(count_in(RemoteMemory(pid)), count);
  EXPECT_EQ(read_file(fmt::format("/proc/{}/task/{}/children", child.pid(), child.pid())), "");
  EXPECT_TRUE(std::filesystem::is_empty(fmt::format("/proc/{}/fd", pid)));
  EXPECT_NE(::getsid(pid), ::getsid(child.pid()));
  twin.reset();
  const std::uint64_t now = count_in(program);
  while (count_in(program) < now + 100000) std::this_thread::yield();
}

TEST(Twin, DiesWithItsTracer) {
  const ChildSignalBlocked child_signal;
  const test::Child child(count_for_ever);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t tracer = ::fork();
  if (tracer == 0) {
    std::unique_ptr<Twin> twin;
    {
      const StoppedProcess process(child.pid());
      twin = twin_of(process);
    }
    const pid_t pid = twin->pid();
    if (::write(ends[1], &pid, sizeof pid) != sizeof pid) ::_exit(1);
    while (true) ::pause();
  }
  pid_t twin = 0;
  ASSERT_EQ(::read(ends[0], &twin, sizeof twin), ssize_t{sizeof twin});
  ::close(ends[0]), ::close(ends[1]);
  ASSERT_EQ(::kill(twin, 0), 0);
  ::kill(tracer, SIGKILL);
  ::waitpid(tracer, nullptr, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto is_running = [&] {
    const std::string path = fmt::format("/proc/{}/stat", twin);
    try {
      return read_file(path).find(") Z ") == std::string::npos;
    } catch (const Error&) {
      return false;
    }
  };
  while (is_running()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::yield();
  }
}

// It would find the twin among its children.
TEST(Twin, IsNotMadeOfAProgramThatAdoptsOrphans) {
  const ChildSignalBlocked child_signal;
  const test::Child child([] { return map_counter() && ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0; });
  const StoppedProcess process(child.pid());
  EXPECT_THROW(twin_of(process), Error);
}

}  // namespace
}  // namespace crs::engine
