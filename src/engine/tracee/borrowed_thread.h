// A stopped thread of a living program, borrowed for remote system calls and given back exactly as it was.
//
// The borrowed thread survives the death of the tracer at any instant: its stack pointer stands on a complete signal
// frame, every call is made at a `syscall; ret`, and the return address leads to rt_sigreturn(2) on that frame. If the
// tracer disappears, the kernel detaches it, the thread finishes the call in progress, returns through the frame and
// goes on where it was.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/tracee/call_chain.h"
#include "engine/tracee/gadgets.h"
#include "engine/tracee/remote_caller.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

// Memory of the program in which nothing of value stands, for frames and arguments: the far end of the main thread's
// stack.
class ScratchPlaces {
 public:
  // `taken`: the places of another borrowed process that has the same memory. Throws an Error of kind Refused if the
  // program has no such place.
  explicit ScratchPlaces(const StoppedProcess& process, RemoteRange taken = {});
  ~ScratchPlaces();
  ScratchPlaces(const ScratchPlaces&) = delete;
  ScratchPlaces& operator=(const ScratchPlaces&) = delete;

  // For the main thread, and for one further thread at a time; each kPlaceBytes long, aligned to 64. If the tracer dies
  // before a thread's signals are blocked, or when they are not any more, a handler may run below the thread's place:
  // there must be nothing but free stack. The other thread's place is the lower one, and is not in use whenever the
  // main thread is borrowed or given back.
  RemoteAddress main() const noexcept { return other() + kPlaceBytes; }
  RemoteAddress other() const noexcept { return start_ + kMarkBytes; }

  RemoteRange range() const noexcept { return {start_, start_ + kBytes}; }

  static constexpr std::size_t kPlaceBytes = 5 * kPageSize - 64;  // an AMX frame takes 12 KiB

 private:
  // What a tracer that died left here is known by a mark in front of it, and free to be used again.
  static constexpr std::size_t kMarkBytes = 128;
  static constexpr std::size_t kBytes = kMarkBytes + 2 * kPlaceBytes;
  static_assert(kBytes % kPageSize == 0);
  bool find_above(RemoteRange taken, const std::optional<MapsLine>& stack);
  bool grow(RemoteRange stack);
  bool is_marked() const;
  void mark();

  const RemoteMemory& memory_;
  RemoteAddress start_;
  std::array<std::byte, kMarkBytes> original_{};
};

class BorrowedThread final : public RemoteCaller {
 public:
  // `thread` belongs to `process`; both must outlive this. `place` is one of ScratchPlaces.
  BorrowedThread(const StoppedProcess& process, const StoppedThread& thread, const Gadgets& gadgets,
                 RemoteAddress place);
  // Gives the thread back. Cannot fail: a thread that is gone needs nothing.
  ~BorrowedThread() override;
  BorrowedThread(const BorrowedThread&) = delete;
  BorrowedThread& operator=(const BorrowedThread&) = delete;

  pid_t tid() const override { return thread_.tid; }
  std::int64_t raw_call(long number, const std::array<std::uint64_t, 6>& arguments) override;
  RemoteAddress scratch() const override { return scratch_; }
  const RemoteMemory& memory() const override { return memory_; }
  // As a chain of signal frames, which leads home if this process dies (CallChain). A thread that cannot go along one
  // has a child do it (MemorySharer).
  std::vector<StoredResult> call_all(std::string_view name, std::span<const StoringCall> calls, Answer answer) override;
  std::optional<std::vector<StoredResult>> call_at_once(std::span<const StoringCall> calls, Answer answer) override;
  std::vector<std::int64_t> call_to_the_end(std::span<const StoringCall> calls,
                                            std::span<const StoringCall> endings) override;

  // For MemorySharer: makes a child that shares the program's memory and descriptors, of which the program hears
  // nothing. The child is traced and stopped; wherever it is let go, it ends at once. Until reap() the borrowed thread
  // waits for the child's end itself if this process dies, so that no zombie stays. Uses the scratch memory.
  pid_t make_sharer();
  // Where the child has the frame that ends it; its calls are made with the stack pointer there.
  user_regs_struct sharer_registers() const;
  // StoppedProcess::call_options(), for the child's calls.
  unsigned long call_options() const noexcept { return call_options_; }
  // Waits for the end of the child, which this process has seen.
  void reap_sharer();

 private:
  using StoredResults = std::optional<std::vector<StoredResult>>;
  StoredResults call_in_chains(std::span<const StoringCall> calls) const;
  StoredResults call_in_child(std::span<const StoringCall> calls);
  StoredResults call_chained(const ChainedThread& thread, std::span<const StoringCall> calls) const;
  RemoteAddress chain_place() const { return scratch_ + kScratchSize; }
  std::size_t calls_in_chain() const;
  RemoteAddress reaping_frame() const { return scratch_; }
  RemoteAddress ending_frame() const;
  void write_frame(RemoteAddress place, user_regs_struct registers) const;
  ptrace::SystemCallResult call_on(RemoteAddress frame, long number, const std::array<std::uint64_t, 6>& arguments);

  const StoppedThread& thread_;
  const RemoteMemory& memory_;
  Gadgets gadgets_;
  unsigned long call_options_;
  std::optional<std::uint64_t> blocked_by_main_;
  user_regs_struct registers_;  // for calls; the thread's own are not touched
  RemoteAddress frame_;
  RemoteAddress extended_state_;  // in the frame, or 0
  RemoteAddress scratch_;
  std::vector<std::byte> original_;  // what stood at `frame_` before
};

}  // namespace crs::engine
