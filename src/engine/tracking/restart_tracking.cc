#include "engine/tracking/restart_tracking.h"

#include <exception>
#include <filesystem>
#include <utility>

#include "engine/tracking/incremental.h"

namespace crs::engine {
namespace {

// The next checkpoint will look for the snapshot by its number, among those of the program's job.
bool is_of_job(const Snapshot& snapshot, const std::string& remembered_path) {
  const std::filesystem::path job = std::filesystem::path(remembered_path).parent_path();
  return job == std::filesystem::path(snapshot.location).parent_path();
}

}  // namespace

RestartTracking::RestartTracking(const Snapshot& snapshot, const image::Tree& tree, const RestartOptions& options)
    : path_(path_of_tracking(options.remembered_path)) {
  // Memory that comes later has a userfaultfd of its own, and no area can have two.
  if (!tree.incremental() || options.lazy || path_.empty() || !is_of_job(snapshot, options.remembered_path)) return;
  tracking_.sequence = sequence_of(snapshot.location);
}

void RestartTracking::add(pid_t pid, std::uint32_t index, std::unique_ptr<WriteTracker> tracker) {
  if (!tracker) return;
  PageRuns areas = tracker->areas();
  tracking_.processes.push_back(
      {.pid = pid, .index = index, .userfault = tracker->give_up(), .areas = std::move(areas)});
}

void RestartTracking::keep() noexcept {
  if (tracking_.processes.empty()) return;
  try {
    keep_tracking(path_, std::exchange(tracking_, {}));
  } catch (const std::exception&) {  // the store is full
  }
}

}  // namespace crs::engine
