#include "engine/tracee/borrowed_thread.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"
#include "engine/resources/threads/timed_wait.h"
#include "engine/tracee/asked_ahead.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/interruption.h"
#include "pages/child.h"
#include "test_program.h"

// As a compiler makes it of `*result = stub(...)`: epoll_wait(2) by a stub that the code of Gadgets::result_store
// follows.
asm(R"(
  .text
wait_stub:
  mov $232, %eax
  mov %rcx, %r10
  syscall
  ret
  .globl wait_and_store
wait_and_store:
  push %rbx
  mov %r8, %rbx
  call wait_stub
  mov %rax, (%rbx)
  pop %rbx
  ret
)");
extern "C" void wait_and_store(long epoll, epoll_event* events, long most, long time_limit, long* result);

namespace crs::engine {
namespace {

std::string state_of(pid_t tid) {
  std::ifstream status("/proc/" + std::to_string(tid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("State:")) return line.substr(7, 1);
  }
  return "?";
}

// What a thread says of its process's signal actions, asked in one go.
std::vector<RemoteCaller::StoredResult> signal_actions(RemoteCaller& remote) {
  std::vector<RemoteCaller::StoringCall> calls;
  for (std::uint64_t signal = 1; signal <= 64; ++signal) calls.push_back({SYS_rt_sigaction, {signal, 0, 0, 8}, 2});
  return remote.call_all("rt_sigaction", calls, RemoteCaller::Answer::OfCopyToo);
}

// The same, one by one.
std::vector<RemoteCaller::StoredResult> signal_actions_singly(RemoteCaller& remote) {
  std::vector<RemoteCaller::StoredResult> actions;
  for (int signal = 1; signal <= 64; ++signal) {
    remote.call("rt_sigaction", SYS_rt_sigaction, signal, 0, remote.scratch(), 8);
    actions.push_back(remote.get<RemoteCaller::StoredResult>());
  }
  return actions;
}

// Calls that return their results, between those that store them; the last one fails.
std::vector<RemoteCaller::StoringCall> mixed_calls() {
  constexpr std::size_t kReturned = RemoteCaller::kReturned;
  return {{SYS_prctl, {PR_GET_TIMERSLACK}, kReturned},
          {SYS_prctl, {PR_GET_PDEATHSIG}, 1},
          {SYS_getppid, {}, kReturned},
          {SYS_gettid, {}, kReturned},
          {SYS_rt_sigaction, {SIGCHLD, 0, 0, 8}, 2},
          {SYS_brk, {}, kReturned},
          {SYS_close, {~0U}, kReturned}};
}

std::int64_t returned(const RemoteCaller::StoredResult& result) {
  return std::bit_cast<std::array<std::int64_t, 4>>(result)[0];
}

// Borrows every thread of `pid` for ten calls each, and chains of many.
void borrow_all(pid_t pid) {
  const WaitsBefore waits(pid);
  StoppedProcess process(pid, [&](pid_t tid) { return waits.elapsed(tid); });
  note_limited_waits(process, waits, RememberedWaits({}, pid));
  BorrowedProcess borrowed(process, find_gadgets(pid, process.memory()));
  borrowed.for_each_thread([&](const StoppedThread&, RemoteCaller& remote) {
    for (int i = 0; i < 10; ++i) ASSERT_EQ(remote.call("getpid", SYS_getpid), pid);
    ASSERT_EQ(signal_actions(remote).size(), 64U);
    ASSERT_EQ(returned(remote.call_all("mixed", mixed_calls(), RemoteCaller::Answer::OfThread).back()), -EBADF);
    ASSERT_EQ(remote.call("getpid", SYS_getpid), pid);
  });
}

TEST(BorrowedThread, CallsInEveryThreadAndGivesThemBack) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(5);
  for (int i = 0; i < 50; ++i) borrow_all(program.pid());
  const unsigned long rounds = program.rounds();
  while (program.rounds() < rounds + 100) std::this_thread::yield();
  EXPECT_EQ(program.finish(), 0);
}

TEST(BorrowedThread, ScratchCarriesArgumentsAndIsGivenBack) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  StoppedProcess process(program.pid());
  const ScratchPlaces places(process);
  const auto before = process.memory().read_value<std::array<std::uint64_t, 1024>>(places.main());
  {
    BorrowedThread thread(process, process.threads().front(), find_gadgets(program.pid(), process.memory()),
                          places.main());
    ASSERT_EQ(thread.call("prctl", SYS_prctl, PR_GET_NAME, thread.scratch()), 0);
    EXPECT_FALSE((thread.memory().read_string(thread.scratch(), 16).empty()));
    EXPECT_THROW(thread.call("close", SYS_close, -1), Error);
  }
  const auto after = process.memory().read_value<std::array<std::uint64_t, 1024>>(places.main());
  EXPECT_EQ(before, after);
}

TEST(BorrowedThread, ManyCallsInOneGoStoreWhatSingleOnesDo) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(3);
  {
    StoppedProcess process(program.pid());
    BorrowedProcess borrowed(process, find_gadgets(program.pid(), process.memory()));
    const auto before =
        process.memory().read_value<std::array<std::byte, ScratchPlaces::kPlaceBytes>>(borrowed.scratch_range().start);
    borrowed.for_each_thread([&](const StoppedThread&, RemoteCaller& remote) {
      EXPECT_EQ(signal_actions(remote), signal_actions_singly(remote));
      EXPECT_THROW(
          remote.call_all("rt_sigaction", {{{SYS_rt_sigaction, {65, 0, 0, 8}, 2}}}, RemoteCaller::Answer::OfCopyToo),
          Error);
    });
    const auto after =
        process.memory().read_value<std::array<std::byte, ScratchPlaces::kPlaceBytes>>(borrowed.scratch_range().start);
    EXPECT_EQ(before, after);
  }
  EXPECT_EQ(program.finish(), 0);
}

TEST(BorrowedThread, ManyCallsInOneGoReturnWhatSingleOnesDo) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(3);
  while (program.rounds() < 30) std::this_thread::yield();
  {
    StoppedProcess process(program.pid());
    const Gadgets gadgets = find_gadgets(program.pid(), process.memory());
    ASSERT_NE(gadgets.result_store.value, 0U) << "glibc 2.36 has such code";
    BorrowedProcess borrowed(process, gadgets);
    int answered = 0;
    borrowed.for_each_thread([&](const StoppedThread& thread, RemoteCaller& remote) {
      const std::vector<RemoteCaller::StoringCall> calls = mixed_calls();
      const auto results = remote.call_at_once(calls, RemoteCaller::Answer::OfThread);
      const bool sleeps = static_cast<long>(thread.registers.rax) == -kRestartBlock;
      // The C library blocks all signals meanwhile; a thread in a handler of SIGUSR1 blocks that alone.
      const bool begins = (thread.signal_mask >> (SIGCHLD - 1) & 1) != 0;
      ASSERT_EQ(results.has_value(), !sleeps && !begins)
          << "the kernel would forget the rest of its time; rax " << static_cast<long>(thread.registers.rax)
          << ", blocked " << thread.signal_mask;
      if (!results) return;
      ++answered;
      for (std::size_t i = 0; i < calls.size(); ++i) {
        if (calls[i].result != RemoteCaller::kReturned) continue;
        EXPECT_EQ(returned((*results)[i]), remote.raw_call(calls[i].number, calls[i].arguments)) << i;
      }
      EXPECT_EQ(returned((*results)[2]), ::getpid());
      EXPECT_EQ(returned((*results)[3]), thread.tid);
      EXPECT_EQ((*results)[4], signal_actions(remote)[SIGCHLD - 1]);
      EXPECT_EQ(returned(results->back()), -EBADF);
    });
    EXPECT_GE(answered, 2) << "the first thread, and one that never sleeps";
  }
  EXPECT_EQ(program.finish(), 0);
}

TEST(BorrowedThread, ProgramThatStoresAResultItselfIsNotTakenForOneOnItsWayBack) {
  const ChildSignalBlocked child_signal;
  auto* const result = static_cast<std::atomic<long>*>(
      ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const FileDescriptor event(::eventfd(0, EFD_CLOEXEC));
  const FileDescriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event wanted{.events = EPOLLIN, .data = {}};
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wanted), 0);
  const test::Child child([&] {
    std::thread([&, number = epoll.get()] {
      epoll_event happened{};
      long answer = 0;
      wait_and_store(number, &happened, 1, -1, &answer);
      *result = answer;
    }).detach();
    return true;
  });
  const auto waits = [&](const std::filesystem::directory_entry& task) {
    return read_file(task.path().native() + "/syscall").starts_with("232 ");
  };
  const std::filesystem::path tasks = "/proc/" + std::to_string(child.pid()) + "/task";
  while (std::ranges::none_of(std::filesystem::directory_iterator(tasks), waits)) std::this_thread::yield();
  {
    const StoppedProcess process(child.pid());
  }
  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  while (*result == 0) std::this_thread::yield();
  EXPECT_EQ(*result, 1);
  ::munmap(result, kPageSize);
}

TEST(AskedAhead, AnswersOnceWhatWasAskedAndAsksTheRest) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  {
    StoppedProcess process(program.pid());
    BorrowedProcess borrowed(process, find_gadgets(program.pid(), process.memory()));
    AskedAhead asked(borrowed.main());
    asked.ask({.of_thread = {{SYS_prctl, {PR_GET_PDEATHSIG}, 1}, {SYS_getppid, {}, RemoteCaller::kReturned}},
               .of_copy_too = {{SYS_rt_sigaction, {SIGCHLD, 0, 0, 8}, 2}}});
    asked.put(std::array<std::uint64_t, 4>{1, 1, 1, 1});
    EXPECT_EQ(asked.call("prctl", SYS_prctl, PR_GET_PDEATHSIG, asked.scratch()), 0);
    EXPECT_EQ(asked.get<int>(), 0);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(asked.call("getppid", SYS_getppid), ::getpid());
    EXPECT_EQ(asked.call("gettid", SYS_gettid), program.pid());
    for (int i = 0; i < 2; ++i) EXPECT_EQ(signal_actions(asked), signal_actions_singly(borrowed.main()));
    EXPECT_THROW(asked.call("close", SYS_close, -1), Error);
  }
  EXPECT_EQ(program.finish(), 0);
}

// Going along a chain makes the kernel forget. Only a child has no address to clear at its end (set_tid_address(2)).
TEST(BorrowedThread, AChildAnswersForOneWhoseCallTheKernelRemembers) {
  const ChildSignalBlocked child_signal;
  const test::Child waiting([] {
    struct sigaction action{};
    action.sa_flags = SA_RESETHAND;
    action.sa_handler = [](int) {};
    return ::sigaction(SIGUSR1, &action, nullptr) == 0 && ::raise(SIGUSR1) == 0;
  });
  while (state_of(waiting.pid()) != "S") std::this_thread::yield();
  StoppedProcess process(waiting.pid());
  BorrowedProcess borrowed(process, find_gadgets(waiting.pid(), process.memory()));
  RemoteCaller& remote = borrowed.main();
  ASSERT_EQ(static_cast<long>(process.threads().front().registers.rax), -516);  // ERESTART_RESTARTBLOCK
  EXPECT_EQ(signal_actions(remote), signal_actions_singly(remote));
  const std::vector<RemoteCaller::StoringCall> address{{SYS_prctl, {PR_GET_TID_ADDRESS}, 1}};
  const auto of = [&](RemoteCaller::Answer answer) {
    return std::bit_cast<std::array<std::uint64_t, 4>>(remote.call_all("prctl", address, answer).front())[0];
  };
  EXPECT_NE(of(RemoteCaller::Answer::OfThread), 0U);
  EXPECT_EQ(of(RemoteCaller::Answer::OfCopyToo), 0U);
  const std::string pid = std::to_string(waiting.pid());
  EXPECT_EQ(read_file("/proc/" + pid + "/task/" + pid + "/children"), "");
}

// Somebody may read it (signalfd(2)).
TEST(BorrowedThread, NoChainEndsWithASignalThatTheProgramBlocks) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  const StoppedProcess process(program.pid());
  std::uint64_t blocked = 0;
  for (int left = 20; left > 0; --left) {
    const auto end = end_with_signal(program.pid(), ~std::uint64_t{0}, blocked, 0, {});
    if (!end) break;
    const std::uint64_t bit = std::uint64_t{1} << (end->signal - 1);
    EXPECT_EQ(blocked & bit, 0U);
    blocked |= bit;
  }
  EXPECT_NE(blocked, 0U);
  EXPECT_FALSE(end_with_signal(program.pid(), ~std::uint64_t{0}, blocked, 0, {}));
}

// The signal that ends a chain also comes from elsewhere.
TEST(BorrowedThread, ManyCallsAreMadeUnderSignals) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(2);
  std::jthread sender([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (const int signal : {SIGWINCH, SIGURG}) ::kill(program.pid(), signal);
    }
  });
  for (int i = 0; i < 200; ++i) {
    StoppedProcess process(program.pid());
    BorrowedProcess borrowed(process, find_gadgets(program.pid(), process.memory()));
    EXPECT_EQ(signal_actions(borrowed.main()), signal_actions_singly(borrowed.main()));
  }
  sender.request_stop();
  sender.join();
  EXPECT_EQ(program.finish(), 0);
}

// A stop for a signal can use up the interruption that was asked for.
TEST(StoppedProcess, StopsAProgramUnderAStormOfTimers) {
  const ChildSignalBlocked child_signal;
  const pid_t program = ::fork();
  if (program == 0) {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGRTMIN, &action, nullptr);
    for (long i = 0; i < 8; ++i) {
      sigevent event{};
      event.sigev_notify = SIGEV_SIGNAL;
      event.sigev_signo = SIGRTMIN;
      timer_t timer{};
      const itimerspec often{{0, 50000 + i * 1000}, {0, 50000 + i * 1000}};
      if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || ::timer_settime(timer, 0, &often, nullptr) != 0)
        ::_exit(1);
    }
    while (true) ::pause();
  }
  for (int i = 0; i < 20000; ++i) const StoppedProcess process(program);
  EXPECT_EQ(::kill(program, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(program, &status, 0), program);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(StoppedProcess, NamesTheDebugger) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  const pid_t debugger = ::fork();
  if (debugger == 0) {
    ::ptrace(PTRACE_SEIZE, program.pid(), nullptr, nullptr);
    ::pause();
  }
  while (true) {
    std::ifstream status("/proc/" + std::to_string(program.pid()) + "/status");
    const std::string text((std::istreambuf_iterator<char>(status)), {});
    if (text.find("TracerPid:\t0\n") == std::string::npos) break;
  }
  try {
    const StoppedProcess process(program.pid());
    ADD_FAILURE() << "stopped a process that is traced by another";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Refused);
    EXPECT_NE(std::string(error.what()).find(std::to_string(debugger)), std::string::npos) << error.what();
  }
  ::kill(debugger, SIGKILL);
  ::waitpid(debugger, nullptr, 0);
}

// A tracer that is killed at a random moment leaves a program that goes on as if nothing had happened.
TEST(BorrowedThread, ProgramSurvivesTheDeathOfItsTracer) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(5);
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int i = 0; i < 300; ++i) {
    const pid_t tracer = ::fork();
    if (tracer == 0) {
      while (true) borrow_all(program.pid());
    }
    const timespec moment{0, static_cast<long>(random() % 8000000)};
    ::nanosleep(&moment, nullptr);
    ::kill(tracer, SIGKILL);
    ::waitpid(tracer, nullptr, 0);
    const unsigned long rounds = program.rounds();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (program.rounds() < rounds + 10) {
      ASSERT_NE(state_of(program.pid()), "Z")
          << "ended with " << program.finish() << " in round " << i << " of seed " << seed;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline)
          << "stuck (" << state_of(program.pid()) << ") in round " << i << " of seed " << seed;
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(program.finish(), 0) << "seed " << seed;
}

// Two settings of the main thread that a row of calls changes, and that its endings put back.
class Settings {
 public:
  explicit Settings(pid_t pid) : pid_(pid), mask_(ProcessStatus::of(pid).field("Umask").value_or("")) {}

  std::vector<std::int64_t> change_and_put_back() const {
    StoppedProcess process(pid_);
    BorrowedProcess borrowed(process, find_gadgets(pid_, process.memory()));
    const auto mask = std::stoul(mask_, nullptr, 8);
    const std::array<RemoteCaller::StoringCall, 3> calls{
        {{SYS_umask, {0123}}, {SYS_prctl, {PR_SET_TIMERSLACK, 12345}}, {SYS_close, {100000}}}};
    const std::array<RemoteCaller::StoringCall, 2> endings{
        {{SYS_prctl, {PR_SET_TIMERSLACK, kSlack}}, {SYS_umask, {mask}}}};
    return borrowed.main().call_to_the_end(calls, endings);
  }
  bool are_as_before() const {
    return ProcessStatus::of(pid_).field("Umask") == mask_ &&
           read_file("/proc/" + std::to_string(pid_) + "/timerslack_ns") == std::to_string(kSlack) + "\n";
  }
  void set_slack() const {
    StoppedProcess process(pid_);
    BorrowedProcess(process, find_gadgets(pid_, process.memory()))
        .main()
        .raw_call(SYS_prctl, {PR_SET_TIMERSLACK, kSlack});
  }

 private:
  static constexpr std::uint64_t kSlack = 54321;
  pid_t pid_;
  std::string mask_;
};

TEST(BorrowedThread, ARowOfCallsIsMadeToTheEnd) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  const Settings settings(program.pid());
  settings.set_slack();
  EXPECT_EQ(settings.change_and_put_back(), (std::vector<std::int64_t>{022, 0, -EBADF, 0, 0123}));
  EXPECT_TRUE(settings.are_as_before());
  EXPECT_EQ(program.finish(), 0);
}

TEST(BorrowedThread, ARowOfCallsIsMadeToTheEndWithoutItsTracer) {
  const ChildSignalBlocked child_signal;
  test::TestProgram program(1);
  const Settings settings(program.pid());
  settings.set_slack();
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int i = 0; i < 100; ++i) {
    const pid_t tracer = ::fork();
    if (tracer == 0) {
      while (true) settings.change_and_put_back();
    }
    const timespec moment{0, static_cast<long>(random() % 4000000)};
    ::nanosleep(&moment, nullptr);
    ::kill(tracer, SIGKILL);
    ::waitpid(tracer, nullptr, 0);
    const unsigned long rounds = program.rounds();
    while (program.rounds() < rounds + 10) std::this_thread::yield();
    ASSERT_TRUE(settings.are_as_before()) << "in round " << i << " of seed " << seed;
  }
  EXPECT_EQ(program.finish(), 0) << "seed " << seed;
}

}  // namespace
}  // namespace crs::engine
