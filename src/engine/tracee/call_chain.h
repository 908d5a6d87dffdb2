// System calls that a thread makes one after the other without a stop between them. Each stands in a signal frame whose
// stack pointer leads to the next one, as a BorrowedThread's leads home; where a call's result is what it returns
// (RemoteCaller::kReturned), over code that stores that (Gadgets::result_store, which must be there).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/tracee/gadgets.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// What all frames of a chain have in common.
struct ChainFrames {
  Gadgets gadgets;
  user_regs_struct registers{};  // but for what a call needs
  RemoteAddress extended_state;  // in a frame that holds it, or 0: there is none
  std::uint64_t signal_mask = 0;
};

class CallChain {
 public:
  // At `place` (aligned to 8), in memory in which nothing of value stands. `end` is the call of the last frame, with
  // its mask and where its return leads; it stores nothing.
  struct End {
    long number = 0;
    std::array<std::uint64_t, 6> arguments{};
    std::uint64_t signal_mask = 0;
    RemoteAddress stack_pointer;
    int signal = 0;  // that it sends
  };
  CallChain(RemoteAddress place, const ChainFrames& frames, std::span<const RemoteCaller::StoringCall> calls,
            const End& end);

  static constexpr std::size_t kFrameBytes = 344;
  static constexpr std::size_t bytes_for(std::size_t calls) { return (calls + 1) * kFrameBytes; }

  // To be written to the place.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  // With which the thread sets out.
  user_regs_struct entry() const;
  // Of call number `index`, which is `call`, from the place's content when the thread has come to the end. Nothing: the
  // call has stored nothing, because it failed.
  static std::optional<RemoteCaller::StoredResult> result_in(std::span<const std::byte> content, std::size_t index,
                                                             const RemoteCaller::StoringCall& call);

 private:
  void lay(std::size_t index, user_regs_struct registers, std::uint64_t mask, RemoteAddress next);

  RemoteAddress place_;
  const ChainFrames& frames_;
  std::vector<std::byte> bytes_;
};

// A stopped, traced thread that can go along a chain.
struct ChainedThread {
  pid_t tid = 0;
  ChainFrames frames;
  CallChain::End end;
};

// Lets the thread go along a chain of `calls` at `place`, whose content is given back, and returns what each has
// stored. Nothing: a call has failed, or the thread did not come to the end. It is stopped then as well, with the
// frames' mask.
std::optional<std::vector<RemoteCaller::StoredResult>> run_chain(const ChainedThread& thread,
                                                                 const RemoteMemory& memory, RemoteAddress place,
                                                                 std::span<const RemoteCaller::StoringCall> calls);

// Sends thread `tid` a signal that its program does not notice when it is delivered: ignored, and neither pending nor
// blocked by the program, which for this thread has `blocked_signals`. `all_signals` but this one are blocked
// meanwhile; the main thread's own mask is `blocked_by_main`, or as /proc says. Nothing: there is no such signal, or
// the thread cannot go along a chain.
std::optional<CallChain::End> end_with_signal(pid_t tid, std::uint64_t all_signals, std::uint64_t blocked_signals,
                                              std::optional<std::uint64_t> blocked_by_main,
                                              RemoteAddress stack_pointer);

}  // namespace crs::engine
