#include "cli/snapshot_verb.h"

#include <fmt/format.h>

namespace crs::cli {
namespace {

// The newest snapshot before `damaged` (of all, where that has no number) whose manifest is sound; "" if there is none.
std::string older_one(Context& context, const Reference& damaged) {
  std::string older;
  for (const SnapshotInfo& snapshot : context.store().list(damaged.job)) {
    const std::uint64_t sequence = *snapshot.reference.sequence;
    if (damaged.sequence && sequence >= *damaged.sequence) break;
    if (!snapshot.damage) older = snapshot.reference.to_string();
  }
  return older;
}

}  // namespace

std::string advice_after_damage(Context& context, const Reference& damaged) {
  const std::string older = older_one(context, damaged);
  if (older.empty()) return "There is no older one: only a sound copy of its directory can be restarted";
  return fmt::format("There is an older one: 'crs verify {0}' checks it, 'crs restart {0}' goes on from it", older);
}

SnapshotInfo open_snapshot(Context& context, const std::string& text) {
  if (is_location(text)) return Store::open_location(text);
  const Reference reference = Reference::parse(text);
  try {
    return context.store().open(reference);
  } catch (Error& error) {
    if (error.kind() == ErrorKind::Damaged) error.advise(advice_after_damage(context, reference));
    throw;
  }
}

}  // namespace crs::cli
