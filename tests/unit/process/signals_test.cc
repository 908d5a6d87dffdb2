#include "engine/resources/signals/signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "pages/child.h"
#include "process/round_trip.h"

namespace crs::engine {
namespace {

using test::Child;

alignas(64) char alternate_stack[32768];

void handler(int) {}

bool queue_value(pid_t pid, int signal, int value) {
  sigval with{};
  with.sival_int = value;
  return ::sigqueue(pid, signal, with) == 0;
}

bool queue_for_thread(int signal, int value) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = value;
  return ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::gettid(), signal, &info) == 0;
}

bool set_up_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK | SA_RESTART | SA_NODEFER;
  ::sigaddset(&action.sa_mask, SIGUSR2);
  bool done = ::sigaction(SIGUSR1, &action, nullptr) == 0 && ::sigaction(SIGRTMAX, &action, nullptr) == 0;
  action.sa_handler = SIG_IGN;
  done = done && ::sigaction(SIGPIPE, &action, nullptr) == 0;
  action.sa_handler = SIG_DFL;
  action.sa_flags = SA_NOCLDWAIT | SA_NOCLDSTOP;
  done = done && ::sigaction(SIGCHLD, &action, nullptr) == 0;
  stack_t stack{};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof alternate_stack;
  stack.ss_flags = static_cast<int>(1U << 31U);  // SS_AUTODISARM
  done = done && ::sigaltstack(&stack, nullptr) == 0;
  const pid_t own = ::getpid();
  done = done && queue_value(own, SIGRTMIN + 3, 30) && queue_value(own, SIGRTMIN + 1, 10) &&
         queue_value(own, SIGRTMIN + 3, 31);
  done = done && ::kill(own, SIGTERM) == 0 && ::kill(own, SIGTERM) == 0 && ::kill(own, SIGPIPE) == 0;
  return done && queue_for_thread(SIGRTMIN + 2, 20) && queue_for_thread(SIGRTMIN + 2, 21) &&
         queue_for_thread(SIGUSR1, 1);
}

struct Captured {
  image::Signals process;
  image::ThreadSignals thread;
};

Captured capture(CaptureContext& context) {
  Captured all;
  capture_signals(context, all.process);
  capture_thread_signals(context, context.remote, all.thread);
  // The C library's, once this process has had a second thread (nptl(7)).
  constexpr std::uint32_t kSetIds = 33;
  auto& actions = *all.process.mutable_actions();
  const auto own = [](const image::SignalAction& action) { return action.signal() == kSetIds; };
  actions.erase(std::remove_if(actions.begin(), actions.end(), own), actions.end());
  return all;
}

siginfo_t info_of(const std::string& bytes) {
  siginfo_t info{};
  std::memcpy(&info, bytes.data(), std::min(bytes.size(), sizeof info));
  return info;
}

class SignalsTest : public ::testing::Test {
 protected:
  void SetUp() override { test::prepare_for_tracing(); }
};

TEST_F(SignalsTest, CapturesActionsAndPendingSignalsInOrder) {
  const Child child(set_up_signals);
  test::Frozen frozen(child.pid());
  CaptureContext context = frozen.context();
  const Captured all = capture(context);

  ASSERT_EQ(all.process.actions_size(), 4);
  EXPECT_EQ(all.process.actions(0).signal(), SIGUSR1);
  EXPECT_EQ(all.process.actions(0).handler(), reinterpret_cast<std::uint64_t>(&handler));
  EXPECT_EQ(all.process.actions(0).mask(), 1U << (SIGUSR2 - 1));
  EXPECT_EQ(all.process.actions(1).signal(), SIGPIPE);
  EXPECT_EQ(all.process.actions(1).handler(), 1U);
  EXPECT_EQ(all.process.actions(2).signal(), SIGCHLD);
  EXPECT_EQ(all.process.actions(2).flags() & (SA_NOCLDWAIT | SA_NOCLDSTOP), SA_NOCLDWAIT | SA_NOCLDSTOP);
  EXPECT_EQ(all.process.actions(3).signal(), SIGRTMAX);

  ASSERT_EQ(all.process.pending_size(), 5);  // the second SIGTERM is not queued
  EXPECT_EQ(info_of(all.process.pending(0)).si_value.sival_int, 30);
  EXPECT_EQ(info_of(all.process.pending(1)).si_value.sival_int, 10);
  EXPECT_EQ(info_of(all.process.pending(2)).si_value.sival_int, 31);
  EXPECT_EQ(info_of(all.process.pending(3)).si_signo, SIGTERM);
  EXPECT_EQ(info_of(all.process.pending(3)).si_pid, child.pid());
  ASSERT_EQ(all.thread.pending_size(), 3);
  EXPECT_EQ(info_of(all.thread.pending(1)).si_value.sival_int, 21);
  EXPECT_EQ(all.thread.alternate_stack(), reinterpret_cast<std::uint64_t>(alternate_stack));
  EXPECT_EQ(all.thread.alternate_stack_flags(), 1U << 31U);
}

TEST_F(SignalsTest, RestoresExactlyWhatWasCaptured) {
  const Child child(set_up_signals);
  test::Frozen frozen(child.pid());
  CaptureContext context = frozen.context();
  const Captured before = capture(context);

  test::Restarted restarted([&](NewbornContext& newborn) {
    ::raise(SIGHUP);  // of the newborn's own life: must not be seen by the program
    restore_signals_inside(newborn, before.process, {});
  });
  RestoreContext restoring = restarted.restoring(child.pid());
  image::Thread thread;
  *thread.mutable_signals() = before.thread;
  restore_thread_signals(restoring, restarted.main(), thread, {});
  CaptureContext again = restarted.capturing();
  const Captured after = capture(again);
  EXPECT_EQ(before.process.SerializeAsString(), after.process.SerializeAsString());
  EXPECT_EQ(before.thread.SerializeAsString(), after.thread.SerializeAsString());
}

TEST_F(SignalsTest, CapturesMorePendingSignalsThanOneBatch) {
  const Child child([] {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    for (int value = 0; value < 200; ++value) {
      if (!queue_value(::getpid(), SIGRTMIN, value)) return false;
    }
    return true;
  });
  test::Frozen frozen(child.pid());
  CaptureContext context = frozen.context();
  image::Signals signals;
  capture_signals(context, signals);
  ASSERT_EQ(signals.pending_size(), 200);
  for (int value = 0; value < 200; ++value) EXPECT_EQ(info_of(signals.pending(value)).si_value.sival_int, value);
}

TEST_F(SignalsTest, RefusesDamagedImages) {
  const RestartOptions options;
  const ContentStore content("/nonexistent");
  std::vector<std::string> notes;
  CheckContext context{.options = options, .content = content, .notes = notes};
  const auto kind_of = [&](const auto& message, auto check) {
    try {
      check(context, message);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::Usage;
  };

  image::Signals wrong_signal;
  wrong_signal.add_actions()->set_signal(65);
  EXPECT_EQ(kind_of(wrong_signal, check_signals), ErrorKind::Damaged);
  image::Signals kill;
  kill.add_actions()->set_signal(SIGKILL);
  EXPECT_EQ(kind_of(kill, check_signals), ErrorKind::Damaged);
  image::Signals short_info;
  short_info.add_pending("too short");
  EXPECT_EQ(kind_of(short_info, check_signals), ErrorKind::Damaged);
  image::ThreadSignals wrong_pending;
  wrong_pending.add_pending(std::string(sizeof(siginfo_t), '\0'));
  EXPECT_EQ(kind_of(wrong_pending, check_thread_signals), ErrorKind::Damaged);
  image::ThreadSignals wrong_flags;
  wrong_flags.set_alternate_stack_flags(0x40);
  EXPECT_EQ(kind_of(wrong_flags, check_thread_signals), ErrorKind::Damaged);
}

}  // namespace
}  // namespace crs::engine
