#include "engine/tracee/newborn_thread.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {

NewbornThread::NewbornThread(pid_t tid, const RemoteMemory& memory)
    : tid_(tid), memory_(memory), at_(ptrace::registers(tid)) {}

void NewbornThread::settle(RemoteAddress instruction, RemoteAddress scratch) {
  at_.rip = instruction.value;
  scratch_ = scratch;
}

std::int64_t NewbornThread::raw_call(long number, const std::array<std::uint64_t, 6>& arguments) {
  const ptrace::SystemCallResult result = ptrace::make_system_call(tid_, at_, number, arguments);
  created_ = result.created_thread;
  return result.value;
}

namespace {

bool has_pending(pid_t tid, int signal) {
  const ProcessStatus status = ProcessStatus::of(tid);
  const std::uint64_t pending = status.hexadecimal("SigPnd") | status.hexadecimal("ShdPnd");
  return (pending >> (signal - 1) & 1) != 0;
}

}  // namespace

std::vector<RemoteCaller::StoredResult> NewbornThread::call_all(std::string_view name,
                                                                std::span<const StoringCall> calls, Answer answer) {
  constexpr std::size_t kWorthLoop = 3;
  const bool all_return = std::ranges::all_of(calls, [](const StoringCall& call) { return call.result == kReturned; });
  if (!loop_ || !all_return || calls.size() < kWorthLoop || has_pending(tid_, SIGCONT))
    return RemoteCaller::call_all(name, calls, answer);
  std::vector<StoredResult> results;
  while (!calls.empty()) {
    const auto some = calls.first(std::min(calls.size(), loop_->most_calls()));
    for (const std::int64_t result : run_loop(*loop_, tid_, memory_, at_, some)) results.push_back(as_stored(result));
    calls = calls.subspan(some.size());
  }
  return results;
}

std::int64_t NewbornThread::interrupted_call(long number, const std::array<std::uint64_t, 6>& arguments) {
  return ptrace::make_interrupted_call(tid_, at_, number, arguments);
}

pid_t NewbornThread::clone(pid_t wanted, RemoteAddress cleared_at) {
  constexpr std::size_t kIdOffset = 512;
  clone_args arguments{};
  arguments.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  if (cleared_at.value != 0) {
    arguments.flags |= CLONE_CHILD_CLEARTID;
    arguments.child_tid = cleared_at.value;
  }
  if (wanted != 0) {
    arguments.set_tid = put(wanted, kIdOffset).value;
    arguments.set_tid_size = 1;
  }
  try {
    make_thread(arguments);
  } catch (const Error& error) {
    if (error.error_number() == 0) throw;
    fail_to_make("thread", error.error_number(), wanted);
  }
  ptrace::wait_for_stop(created_);
  return created_;
}

// Containers' seccomp filters hide clone3(2), whose flags they cannot read; no id can be chosen then.
void NewbornThread::make_thread(const clone_args& arguments) {
  try {
    call("clone3", SYS_clone3, put(arguments), sizeof arguments);
  } catch (const Error& error) {
    const bool is_hidden = error.error_number() == ENOSYS || error.error_number() == EPERM;
    if (!is_hidden || arguments.set_tid != 0) throw;
    call("clone", SYS_clone, arguments.flags, 0, 0, arguments.child_tid, 0);
  }
}

}  // namespace crs::engine
