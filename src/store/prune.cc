#include "store/prune.h"

#include <ranges>

#include "base/error.h"

namespace crs {
namespace {

bool is_old_enough(const SnapshotInfo& snapshot, const PrunePolicy& policy) {
  return !policy.taken_before || snapshot.manifest.taken_at() < *policy.taken_before;
}

}  // namespace

std::vector<SnapshotInfo> choose_to_prune(const std::vector<SnapshotInfo>& snapshots, const PrunePolicy& policy) {
  std::vector<SnapshotInfo> unwanted;
  std::uint64_t kept = 0;
  for (const SnapshotInfo& snapshot : std::views::reverse(snapshots)) {
    if (snapshot.damage) continue;
    const bool wanted = kept < policy.keep || !is_old_enough(snapshot, policy);
    if (wanted) {
      ++kept;
    } else {
      unwanted.push_back(snapshot);
    }
  }
  return unwanted;
}

RemovedSnapshots prune(Store& store, const std::string& job, const PrunePolicy& policy) {
  RemovedSnapshots removed;
  for (const SnapshotInfo& snapshot : choose_to_prune(store.list(job), policy)) {
    try {
      const RemovedSnapshots one = store.remove(snapshot.reference);
      removed.references.insert(removed.references.end(), one.references.begin(), one.references.end());
      removed.bytes += one.bytes;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::NotFound) throw;
    }
  }
  return removed;
}

}  // namespace crs
