// Stopping a program for an instant, before the stop in which it is captured: its threads' waits are as exact
// afterwards as if it had not been stopped.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>

#include "engine/resources/threads/remembered_waits.h"
#include "engine/tracee/borrowed_thread.h"

namespace crs::engine {

class ShortStops {
 public:
  // Of process `pid` of the tree below `root`. `remembered`, which knows of the whole tree, and `gadgets` outlive this;
  // the first is brought up to date by each stop. `remembered_path` as in CheckpointOptions.
  ShortStops(pid_t pid, pid_t root, std::string remembered_path, RememberedWaits& remembered, const Gadgets& gadgets)
      : pid_(pid),
        root_(root),
        remembered_path_(std::move(remembered_path)),
        remembered_(remembered),
        gadgets_(gadgets) {}

  // Stops all threads, and calls `action` with the main thread borrowed unless it is empty.
  void stop(const std::function<void(BorrowedThread&)>& action);
  // How long the program was stopped in all.
  std::chrono::nanoseconds total() const noexcept { return total_; }

 private:
  pid_t pid_;
  pid_t root_;
  std::string remembered_path_;
  RememberedWaits& remembered_;
  const Gadgets& gadgets_;
  std::chrono::nanoseconds total_{};
};

}  // namespace crs::engine
