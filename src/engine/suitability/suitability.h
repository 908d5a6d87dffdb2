// Whether a process is one that can be checkpointed at all: what can be told from /proc before it is touched.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/resources/context.h"

namespace crs::engine {

// Throws if `pid` does not exist (NotFound), is this process itself, has ended, or is a kernel thread.
void check_is_program(pid_t pid);

// Adds to `refusals` what rules out a checkpoint of the process before any system call is made in it: a debugger,
// seccomp (which might answer a remote call by killing the program). Also called while it is stopped, since it may have
// changed.
void refuse_unsuitable(pid_t pid, Surroundings& surroundings, Refusals& refusals);

// Adds to `refusals` that the process has descendants.
void refuse_children(pid_t pid, Refusals& refusals);

// Adds to `refusals` a process outside the program of `root` that has the memory of one inside: while the program
// stands still, that one writes. Programs of others, who may not be looked at, are passed over.
void refuse_memory_shared_outside(pid_t root, Refusals& refusals);

// Tells of what the first process of a tree shares with its parent, where a process outside the tree is most likely to
// share something: it comes back unshared.
void warn_of_tables_shared_outside(pid_t pid, pid_t own_pid, std::vector<std::string>& warnings);

// How much memory of no file the program `pid` and its descendants, which run, have in RAM, in bytes.
std::uint64_t memory_of_program(pid_t pid);

// Whether it is worth while to look closely before anything is written, at the price of a stop: they have something
// open, mapped or shared that may have to be refused.
bool is_worth_examining(pid_t pid);

// Throws if a thread of the program of `root` stays in a wait that nothing ends: to stop it, a checkpoint would hold
// the others for as long as its patience lasts, which is too long for one that only looks.
void check_can_be_stopped(pid_t root);

// Adds to `refusals` those of `pids`, other than the first, that are ancestors of this very command: after a restart
// they would wait for it in vain.
void refuse_own_ancestors(const std::vector<pid_t>& pids, Refusals& refusals);

// Whether the namespace of `kind` ("user", "pid", ...) in which `pid` runs was made by a CRS restart of it.
bool is_made_by_restart(pid_t pid, std::string_view kind);

}  // namespace crs::engine
