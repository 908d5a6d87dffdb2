// A signal frame as the kernel itself lays it on a stack (arch/x86/kernel/signal_64.c, struct rt_sigframe):
// rt_sigreturn(2) on it gives a thread all its registers back.
#pragma once

#include <sys/user.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tracee/remote_address.h"

namespace crs::engine {

// The bytes of a frame for address `place` (aligned to 64). They begin with the return address `signal_return`, which
// the stack pointer is to point at when a `ret` leads there. `extended_state` is as ptrace::extended_state gives it.
std::vector<std::byte> make_signal_frame(RemoteAddress place, RemoteAddress signal_return,
                                         const user_regs_struct& registers, std::span<const std::byte> extended_state,
                                         std::uint64_t signal_mask);

// A frame without what only the kernel reads again: `extended_state` is the address of one that another frame holds, or
// 0.
inline constexpr std::size_t kChainedFrameBytes = 312;
std::array<std::byte, kChainedFrameBytes> make_chained_frame(RemoteAddress signal_return,
                                                             const user_regs_struct& registers,
                                                             RemoteAddress extended_state, std::uint64_t signal_mask);

// Where in a frame made for `place` its extended state lies.
RemoteAddress extended_state_in_signal_frame(RemoteAddress place);

// Where in a frame the first argument register of a call, rdi, is saved.
std::size_t first_argument_in_signal_frame();

// Whether a thread with this extended state may read and write memory with the protection key that all memory has at
// first (pkeys(7)).
bool may_use_ordinary_memory(std::span<const std::byte> extended_state);

// The most that make_signal_frame returns for an extended state of this many bytes.
std::size_t signal_frame_bytes(std::size_t extended_state_bytes);

}  // namespace crs::engine
