// A process that a restart builds: a copy of the restart command, or (IdPlan::Way::Caller) that command's process
// itself, it has prepared itself by running ordinary code (family.h) and waits to be taken over from outside.
#pragma once

#include <memory>
#include <vector>

#include "engine/procfs/maps.h"
#include "engine/tracee/newborn_thread.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

// A `syscall` instruction that is mapped in every process of this system: the vDSO has several.
RemoteAddress find_syscall(const std::vector<MapsLine>& mappings, const RemoteMemory& memory);

class Newborn {
 public:
  // `pid` as the caller sees it. `is_traced`: the caller is its tracer already.
  Newborn(pid_t pid, bool is_traced) : pid_(pid), is_traced_(is_traced) {}

  pid_t pid() const noexcept { return pid_; }

  // Attaches as its tracer; from now on it dies with this process. Its main thread is then stopped, with all signals
  // blocked.
  void take_over();
  NewbornThread& main_thread() { return *main_; }
  const RemoteMemory& memory() const { return *memory_; }

  // Gives the main thread a home outside all of `occupied`: a page of code with a `syscall` instruction and a loop of
  // calls, and pages of scratch memory. Returns the range, which must not be mapped over.
  RemoteRange settle(const std::vector<RemoteRange>& occupied);

 private:
  pid_t pid_;
  bool is_traced_;
  std::unique_ptr<RemoteMemory> memory_;
  std::unique_ptr<NewbornThread> main_;
};

}  // namespace crs::engine
