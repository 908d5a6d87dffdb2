// A thread of the process that a restart is building. It has nothing to lose: it dies with its tracer
// (PTRACE_O_EXITKILL).
#pragma once

#include <sys/ptrace.h>

#include <optional>

#include "engine/tracee/call_loop.h"
#include "engine/tracee/ptrace.h"
#include "engine/tracee/remote_caller.h"

struct clone_args;  // linux/sched.h; NOLINT(readability-identifier-naming)

namespace crs::engine {

// PTRACE_O_ options.
inline constexpr unsigned long kNewbornOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;

class NewbornThread final : public RemoteCaller {
 public:
  // `tid` is stopped and all its signals are blocked. `memory` must outlive this.
  NewbornThread(pid_t tid, const RemoteMemory& memory);

  // From now on calls are made at the `syscall` instruction at `instruction`, with `scratch` for arguments.
  void settle(RemoteAddress instruction, RemoteAddress scratch);

  // From now on call_all() goes along a loop, where each call returns its result.
  void use(const CallLoop& loop) { loop_ = loop; }

  pid_t tid() const override { return tid_; }
  std::int64_t raw_call(long number, const std::array<std::uint64_t, 6>& arguments) override;
  RemoteAddress scratch() const override { return scratch_; }
  const RemoteMemory& memory() const override { return memory_; }
  std::vector<StoredResult> call_all(std::string_view name, std::span<const StoringCall> calls, Answer answer) override;

  // As raw_call, but the call is interrupted as soon as it waits; the result may then be one of the kernel's -ERESTART
  // codes. No call of relative time may follow in this thread: the kernel remembers only the last one.
  std::int64_t interrupted_call(long number, const std::array<std::uint64_t, 6>& arguments);

  // Makes a further thread with clone3(2), or clone(2) where that is not to be had, and waits until it is stopped. With
  // `wanted` not 0 it gets that id in the innermost process id namespace. `cleared_at` is where the kernel writes 0
  // when the thread ends, or 0. Returns its id as the caller sees it.
  pid_t clone(pid_t wanted, RemoteAddress cleared_at);

 private:
  void make_thread(const clone_args& arguments);

  pid_t tid_;
  const RemoteMemory& memory_;
  user_regs_struct at_;
  RemoteAddress scratch_;
  std::optional<CallLoop> loop_;
  pid_t created_ = 0;  // the thread that the last call made, or 0
};

}  // namespace crs::engine
