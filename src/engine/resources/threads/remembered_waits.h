// How long the timed waits of a running program last, as the checkpoint or restart that last stopped its threads knew
// it. Afterwards a thread goes on in restart_syscall(2), which shows nothing of that to anybody, so the next checkpoint
// would take the wait for a new one.
//
// Kept in a small file beside the snapshots. It may be missing, old or another process's: then nothing is known.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/tracee/stopped_tree.h"

namespace crs::engine {

struct RememberedWait {
  pid_t tid = 0;  // as the caller sees it
  int call = 0;
  std::uint64_t end = 0;     // on CLOCK_MONOTONIC, in nanoseconds
  std::uint64_t sleeps = 0;  // how often the thread had gone to sleep just before it was let go
};

class RememberedWaits {
 public:
  // Of process `pid` and its descendants. Never throws: what cannot be read is not known.
  RememberedWaits(const std::string& path, pid_t pid) noexcept;
  // The wait that thread `tid`, which has gone to sleep `sleeps` times so far, is still in; null if that is not
  // certain.
  const RememberedWait* find(pid_t tid, std::uint64_t sleeps) const;
  // When the threads have been stopped and let go once more by this process.
  void replace(std::vector<RememberedWait> waits) { waits_ = std::move(waits); }
  const std::vector<RememberedWait>& all() const noexcept { return waits_; }

 private:
  std::vector<RememberedWait> waits_;
};

// Replaces what is remembered. Never throws: a wait that is not remembered is only less exact after the next restart.
void remember_waits(const std::string& path, pid_t pid, const std::vector<RememberedWait>& waits) noexcept;

// Remembers the limited waits of stopped processes when their threads are let go, also if a checkpoint fails.
class WaitsKeeper {
 public:
  // The tree outlives this.
  WaitsKeeper(std::string path, const StoppedTree& tree);
  // Of one process of the tree below `root`. `process` outlives this. `known` is what is remembered of the others.
  WaitsKeeper(std::string path, pid_t root, const StoppedProcess& process, const RememberedWaits& known);
  ~WaitsKeeper();
  WaitsKeeper(const WaitsKeeper&) = delete;
  WaitsKeeper& operator=(const WaitsKeeper&) = delete;

  // The last thing before the threads are let go.
  void look() noexcept;
  // At any time after that.
  void keep() noexcept;
  const std::vector<RememberedWait>& waits() const noexcept { return waits_; }

 private:
  std::string path_;
  pid_t root_;
  std::vector<const StoppedProcess*> processes_;
  std::vector<RememberedWait> others_;
  std::vector<RememberedWait> waits_;
  bool kept_ = false;
};

// How often a thread has gone to sleep by its own will (voluntary_ctxt_switches, proc_pid_status(5)).
std::uint64_t sleeps_of(pid_t tid);

// Field `number` of the file `stat` in the directory `task` (proc_pid_stat(5)); 3 or higher.
std::string stat_field(const std::string& task, int number);

// CLOCK_MONOTONIC.
std::uint64_t monotonic_nanoseconds();

}  // namespace crs::engine
