#include "cli/snapshot_verb.h"

#include <fmt/format.h>

namespace crs::cli {

std::string advice_of_older(Context& context, const Reference& damaged) {
  std::string older;
  for (const SnapshotInfo& snapshot : context.store().list(damaged.job)) {
    const std::uint64_t sequence = *snapshot.reference.sequence;
    if (damaged.sequence && sequence >= *damaged.sequence) break;
    if (!snapshot.damage) older = snapshot.reference.to_string();
  }
  if (older.empty()) return {};
  return fmt::format("There is an older one: 'crs verify {0}' checks it, 'crs restart {0}' goes on from it", older);
}

}  // namespace crs::cli
