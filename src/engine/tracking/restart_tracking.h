// What a restarted program writes is known from its beginning, where it was in a row of incremental checkpoints: the
// next one of the row need not write everything.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "crs/component.hpp"
#include "engine/image/process.pb.h"
#include "engine/pages/write_tracker.h"
#include "engine/tracking/tracking_keeper.h"

namespace crs::engine {

class RestartTracking {
 public:
  RestartTracking(const Snapshot& snapshot, const image::Tree& tree, const RestartOptions& options);

  // Whether anybody will ask for it.
  bool wanted() const noexcept { return tracking_.sequence != 0; }
  // `tracker` tracks what process `pid`, number `index` of the tree, has written since all was as in the snapshot.
  void add(pid_t pid, std::uint32_t index, std::unique_ptr<WriteTracker> tracker);
  // No process runs yet. Never throws; where it fails, the next snapshot is a full one.
  void keep() noexcept;

 private:
  std::string path_;
  Tracking tracking_;
};

}  // namespace crs::engine
