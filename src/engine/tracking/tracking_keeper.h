// Tracking of what a program writes (WriteTracker) from one checkpoint to the next. The kernel tracks as long as
// somebody holds the userfaultfd open, so between the checkpoints a process of its own does, the keeper: it sleeps
// until the program ends, and ends with it. The next checkpoint takes the descriptors over and ends the keeper.
//
// Where anything of this fails (the keeper was killed, the system lets nobody take descriptors from another process)
// the next checkpoint just does not know what has changed, and saves everything.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/pages/page_runs.h"

namespace crs::engine {

// What process `pid` has written into `areas` (ascending) since a snapshot is known by the userfaultfd.
struct TrackedProcess {
  pid_t pid = 0;            // as the caller sees it
  std::uint32_t index = 0;  // in the tree of that snapshot
  FileDescriptor userfault;
  PageRuns areas;
};

struct Tracking {
  std::uint64_t sequence = 0;  // of the snapshot
  std::vector<TrackedProcess> processes;

  // The tracking of that process; null if there is none.
  TrackedProcess* find(pid_t pid);
};

// Starts a keeper and notes in the file `path` what it holds. Throws; then nothing is tracked any more. The caller must
// have no thread that holds a lock which the keeper, a copy of it, might need: it only closes and waits. The keeper has
// descriptors of its own: the caller closes those of `tracking`.
void keep_tracking(const std::string& path, const Tracking& tracking);

// What a keeper holds according to the file `path`; nothing if there is none or it is not certain to be right. The file
// is removed and the keeper ended: from now on it is the caller's to keep, and if the caller fails, nothing is known
// any more. Never throws.
std::optional<Tracking> take_tracking(const std::string& path) noexcept;

// Whether the file `path` says that process `pid` is tracked. Never throws.
bool is_tracked(const std::string& path, pid_t pid) noexcept;

// Keepers of process `pid` whatever notes them: a checkpoint into another store, say. Found by their name and by what
// they have open, as far as this user may look at them. Never throw.
bool is_kept(pid_t pid) noexcept;
// Ends them, and waits for some seconds until they are gone; false: there are none, or they are not gone.
bool end_keepers_of(pid_t pid) noexcept;

}  // namespace crs::engine
