// What seccomp filters answer to a system call, found out without making it.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <span>

namespace crs::engine {

// What `program` answers to `call`: a SECCOMP_RET_ value (seccomp(2)). The kernel has checked the program; one that it
// would not have taken kills.
std::uint32_t answer_of(std::span<const sock_filter> program, const seccomp_data& call);

// Whether a thread, which is stopped with these registers in a wait that the kernel continues by restart_syscall(2),
// gets by its filters then. Without any, or if this process may not see them: true.
bool may_continue_wait(pid_t tid, const user_regs_struct& registers);

}  // namespace crs::engine
