// The pieces of code, already mapped in programs, that a borrowed thread is led through.
#pragma once

#include <sys/user.h>

#include "engine/procfs/maps.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

// How far above the place that %rbx names the stack pointer is where result_store is returned to (CallChain), so that
// what it pops and returns to follows.
constexpr std::uint64_t kResultStoreStack = 16;

struct Gadgets {
  RemoteAddress syscall_return;  // `syscall; ret`
  RemoteAddress signal_return;   // `mov $15, %rax; syscall`: rt_sigreturn(2)
  RemoteAddress result_store;    // `mov %rax, (%rbx); pop %rbx; ret`; or 0: not every C library carries it

  bool complete() const { return syscall_return.value != 0 && signal_return.value != 0; }
  // Whether the code is (still) there.
  bool present_in(const RemoteMemory& memory) const;
};

// Looks through the executable areas, the C library's first. May be called while the program runs; what it found is
// then to be checked with present_in() once it is stopped. Throws an Error of kind Refused if the program carries no
// such code.
Gadgets find_gadgets(pid_t pid, const RemoteMemory& memory);

// The same for a program that runs: one that has only just begun is given seconds for mapping its C library, of which
// nothing but its memory tells that it is there.
Gadgets find_gadgets_of_running(pid_t pid, const RemoteMemory& memory);

// Whether a thread with these registers was borrowed by a tracer that died, and is just on its way back through its
// signal frame.
bool is_on_way_back(const user_regs_struct& registers, const RemoteMemory& memory);

}  // namespace crs::engine
