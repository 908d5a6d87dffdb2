// System calls that a newborn's thread makes one after the other without a stop between them, by a few instructions in
// its home: each call in a list, whose result goes back there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tracee/ptrace.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// Where these instructions are, and the list.
struct CallLoop {
  RemoteAddress code;
  RemoteRange list;

  // To be written to `code`; they may stand anywhere.
  static std::span<const std::byte> instructions();
  // How many calls the list has room for.
  std::size_t most_calls() const;
};

// `tid` is stopped, as NewbornThread has it, with the registers of `at` beside those that the loop needs; so it is
// afterwards. At most loop.most_calls() `calls`, of which each returns what it has to say. Returns that, in their
// order. No SIGCONT of the program's may be pending: the thread stops by a SIGSTOP, which would take it away
// (signal(7)).
std::vector<std::int64_t> run_loop(const CallLoop& loop, pid_t tid, const RemoteMemory& memory,
                                   const user_regs_struct& at, std::span<const RemoteCaller::StoringCall> calls);

}  // namespace crs::engine
