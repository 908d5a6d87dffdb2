// One checkpoint's part in a row of incremental ones: takes over what the one before left, and leaves the same for the
// next.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "crs/component.hpp"
#include "engine/pages/process_pages.h"
#include "engine/resources/memory/smaps.h"
#include "engine/tracking/tracking_keeper.h"

namespace crs::engine {

// The number of the snapshot in the directory STORE/JOB/SEQ. Throws where it has none.
std::uint64_t sequence_of(const std::string& location);

// Where it is noted, for the job whose CheckpointOptions::remembered_path this is; empty: nowhere.
std::string path_of_tracking(const std::string& remembered_path);

class Incremental {
 public:
  // Before the program's memory is looked at. Takes the tracking over if there is any, also where this checkpoint is
  // not an incremental one: then tracking ends. `options` must outlive this.
  // Tracking of process `pid` under another job's name ends, too.
  Incremental(pid_t pid, const CheckpointOptions& options);
  // For who only looks at the program: tracking goes on as it is.
  struct OnlyLooks {};
  Incremental(const CheckpointOptions& options, OnlyLooks);
  // Ends tracking that was not kept, so that the program does not wait for it.
  ~Incremental();
  Incremental(const Incremental&) = delete;
  Incremental& operator=(const Incremental&) = delete;

  // Takes the marks off that this tracking leaves in what smaps says of process `pid`: to others it would look like a
  // userfaultfd of the program's. Whether tracking goes on that nobody takes over: then the marks will be there again.
  bool hide_tracking(pid_t pid, std::vector<MappedArea>& areas) const;
  // After that: whether marks are left that were those of tracking noted elsewhere (another store's, or nowhere), which
  // has been ended now: the areas are to be looked at again.
  bool end_tracking_elsewhere(pid_t pid, const std::vector<MappedArea>& areas) const;
  // Lets `pages` go on from the earlier snapshot, where what process `pid` has written since is known. What stands in
  // the way is added to `warnings`: then everything is written.
  bool continue_from_earlier(pid_t pid, ProcessPages& pages, std::vector<std::string>& warnings);
  // What process `pid` has written is tracked no more: everything of it will be written.
  void give_up_earlier(pid_t pid);
  // Completes `pages`, those of process `index` of the tree, which runs again.
  SavedPages finish(pid_t pid, std::uint32_t index, ProcessPages& pages);
  // The number of the earlier snapshot of which anything is used; 0: none.
  std::uint64_t parent_sequence() const noexcept { return parent_sequence_; }
  // The snapshot is complete: what was written since is known from now on. Never throws; where that fails, the next
  // snapshot is a full one.
  void keep() noexcept;

 private:
  bool hide_all_tracking(pid_t pid, std::vector<MappedArea>& areas) const;
  EarlierPages open_earlier() const;

  const CheckpointOptions& options_;
  std::string path_;
  bool only_looks_ = false;
  std::optional<Tracking> before_;
  std::optional<EarlierPages> earlier_;
  std::map<std::uint32_t, std::vector<std::size_t>> earlier_extents_;  // of each process of the earlier tree
  Tracking after_;
  std::uint64_t parent_sequence_ = 0;
};

}  // namespace crs::engine
