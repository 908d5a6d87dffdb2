// What this machine can do for a checkpoint or a restart: every kernel interface that the engine needs is tried out,
// not looked up in a version table, so that a kernel's configuration, a container's filter and a user's rights are all
// in the answer.
//
// The trials happen in short-lived child processes and leave nothing behind. To be called from a process with one
// thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace crs::engine {

struct MachineFact {
  std::string name;  // of the interface: "ptrace"
  bool available = false;
  bool essential = false;   // without it nothing can be checkpointed or restarted
  std::string detail;       // what was seen: a version, a number, the reason why not
  std::string consequence;  // what follows for the user where it is not available
};

// The kernel and its interfaces, as the calling user may use them.
std::vector<MachineFact> examine_machine();

// Whether `directory` (which need not exist yet) can hold snapshots: writable, space left, unnamed files.
std::vector<MachineFact> examine_store_directory(const std::filesystem::path& directory);

// Whether remote calls can be made past a program's seccomp filters (PTRACE_O_SUSPEND_SECCOMP): 0, or an errno value.
int try_suspending_seccomp();

// The rooms of examine_machine().
std::vector<MachineFact> examine_kernel();
std::vector<MachineFact> examine_tracing();
std::vector<MachineFact> examine_memory_interfaces();
std::vector<MachineFact> examine_identity_interfaces();  // process ids, namespaces, timers

}  // namespace crs::engine
