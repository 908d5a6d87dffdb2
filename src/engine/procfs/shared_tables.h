// Which of several processes have one descriptor table, one working directory, one memory, one set of signal actions:
// what clone(2) shares between them (CLONE_FILES, CLONE_FS, CLONE_VM, CLONE_SIGHAND).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace crs::engine {

// Of each of the frozen processes, the index of the first that has the same table: its own where no earlier one has it.
// `type` is one of kcmp(2): KCMP_FILES, ... An id of 0 stands for a process without tables, a zombie. Throws.
std::vector<std::size_t> first_with_same_table(std::span<const pid_t> pids, int type);

// Whether two processes have one memory (CLONE_VM). False also where they may not be compared, or one has ended.
bool have_one_memory(pid_t one, pid_t other);

// Of each process of this system, outside of `pids`, that has the table of one of them: that one, and it. Those that
// may not be compared, and those that end meanwhile, are left out.
std::vector<std::pair<pid_t, pid_t>> pairs_with_outside(std::vector<pid_t> pids, int type);

// Where kcmp(2) has failed with `problem`; `what` is "cannot compare ...". With advice where it is not allowed.
[[noreturn]] void fail_to_compare(int problem, const std::string& what);

}  // namespace crs::engine
