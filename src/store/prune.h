// Which snapshots of a job are no longer wanted.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "store/store.h"

namespace crs {

struct PrunePolicy {
  std::uint64_t keep = 1;                    // so many of the newest stay, whatever their age
  std::optional<std::int64_t> taken_before;  // nanoseconds since 1970: others stay; empty: age does not count
};

// Of the snapshots of one job, ascending: those to be removed, newest first. One that is damaged neither
// counts as kept, since nothing can be restarted from it, nor is it removed: it is not known what it was.
std::vector<SnapshotInfo> choose_to_prune(const std::vector<SnapshotInfo>& snapshots, const PrunePolicy& policy);

// Removes them. One that somebody else removes meanwhile is no error.
RemovedSnapshots prune(Store& store, const std::string& job, const PrunePolicy& policy);

}  // namespace crs
