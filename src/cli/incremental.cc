#include "cli/incremental.h"

#include <algorithm>

#include "base/error.h"

namespace crs::cli {
namespace {

// Of a snapshot that has the content of an earlier one. Empty: there is none, and the new snapshot is a full one.
std::string location_of_same(const Store& store, const std::string& job, std::uint64_t sequence) {
  for (const SnapshotInfo& snapshot : store.list(job)) {
    const auto& same = snapshot.manifest.same_as_sequences();
    if (!snapshot.damage && std::ranges::find(same, sequence) != same.end()) return snapshot.location;
  }
  return {};
}

}  // namespace

void make_incremental(CheckpointOptions& options, const Store& store, const Reference& reference) {
  options.incremental = true;
  options.sequence = reference.sequence.value_or(0);
  options.earlier = [&store, job = reference.job](std::uint64_t sequence) {
    try {
      return store.open({job, sequence}).location;
    } catch (const Error&) {  // removed, or damaged
      return location_of_same(store, job, sequence);
    }
  };
}

}  // namespace crs::cli
