// Copies the memory of a program while it runs, so that little is left to be done when it stands still.
//
// All of it is copied once; then what was written meanwhile, again and again, as long as that becomes less. Frozen,
// only what changed since its last copy remains to be read. The snapshot's extents keep the copies that were replaced,
// and their tags say so.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/pages/page_area.h"
#include "engine/pages/page_saver.h"
#include "engine/pages/write_tracker.h"

namespace crs::engine {

// For each page in which extent its newest copy is. Takes 4 bytes for each page of a 2 MiB block that has any.
class CopyTable {
 public:
  static constexpr std::uint32_t kNone = 0;
  static constexpr std::uint32_t kZeros = 1;  // copied, and not in any extent since it was all zeros
  static constexpr std::uint32_t of_extent(std::size_t number) { return static_cast<std::uint32_t>(number + 2); }
  static constexpr std::size_t number_of(std::uint32_t extent) { return extent - 2; }
  // In an extent of an earlier snapshot.
  static constexpr std::uint32_t of_earlier(std::size_t number) {
    return static_cast<std::uint32_t>(number) | std::uint32_t{1} << 31;
  }

  void set(RemoteRange run, std::uint32_t place);
  // All pages that were copied.
  PageRuns copied() const;
  // The parts of `run` that were copied, or those that were not.
  PageRuns parts(RemoteRange run, bool copied) const;
  // The parts of `run` whose newest copy is at `place`.
  PageRuns parts_at(RemoteRange run, std::uint32_t place) const;
  // Forgets every page that is not in `kept` (ascending).
  void keep_only(const PageRuns& kept);

 private:
  static constexpr std::size_t kPagesInBlock = 512;
  using Block = std::array<std::uint32_t, kPagesInBlock>;
  template <typename Wanted>
  PageRuns parts_with(RemoteRange run, Wanted wanted) const;

  std::unordered_map<std::uint64_t, std::unique_ptr<Block>> blocks_;
};

// The page data of an earlier snapshot of the same program.
struct EarlierPages {
  std::uint64_t sequence = 0;  // of that snapshot
  std::shared_ptr<const ExtentReader> reader;
  std::vector<std::size_t> extents;  // the numbers of those that are of this process, ascending
};

class Precopy {
 public:
  // Calls the action with the program stopped and one of its threads borrowed, or with the program only stopped if the
  // action is empty; as short as possible.
  using StopBriefly = std::function<void(const std::function<void(BorrowedThread&)>&)>;

  Precopy(pid_t pid, ExtentWriter& writer) : pid_(pid), memory_(pid), writer_(writer) {}

  // Before run(): what was written since the snapshot that `earlier` is of is known by `userfault`, which tracks
  // `areas`; all other pages need not be written again.
  void continue_from(EarlierPages earlier, FileDescriptor userfault, PageRuns areas);

  // The program runs. Copies once what of `areas` (ascending; all readable) is worth it. Nothing at all if there is
  // less than `least` bytes, or if this kernel or the program does not allow it; then the reason is returned.
  std::string run(const std::vector<PageArea>& areas, const StopBriefly& stop_briefly, std::uint64_t least);

  // After run(), just before the program is stopped: copies once more what was written since, as long as there is much.
  void catch_up(const StopBriefly& stop_briefly);

  bool tracks() const noexcept { return tracker_ != nullptr; }
  // How much memory of its own the program had.
  std::uint64_t total() const noexcept { return total_; }
  // How much will remain to be read when the program is stopped now.
  std::uint64_t expected() const noexcept { return expected_; }
  // How much of that is in areas that are not tracked.
  std::uint64_t expected_outside() const noexcept { return outside_; }

  // The program is frozen, and `areas` is all that belongs into the snapshot: what of it remains to be saved,
  // ascending. Guard pages that were seen are added to `guards`.
  std::vector<PageArea> remaining(const std::vector<PageArea>& areas, PageRuns& guards);

  // The program may run again. Takes the copies that do not count out of the snapshot (all, if remaining() was not
  // called) and ends the tracking. Returns how many pages of the copies are in the snapshot, as those of process
  // `process` of the tree.
  std::uint64_t finish(std::uint32_t process);
  // The same, but tracking goes on, for continue_from() of the next checkpoint: with the descriptor (none where nothing
  // is tracked) and the areas.
  std::uint64_t finish(std::uint32_t process, FileDescriptor& userfault, PageRuns& areas);
  // After that: whether anything of the earlier snapshot is part of this one.
  bool uses_earlier() const noexcept { return uses_earlier_; }

 private:
  struct Remaining {
    std::vector<PageArea> areas;
    PageRuns valid;  // whose copies count
    PageRuns guards;
  };
  // Looked at by itself.
  struct Part {
    const PageArea* area;
    RemoteRange range;
    bool tracked;
    Remaining remaining = {};
  };
  void choose(const std::vector<PageArea>& areas, std::uint64_t least);
  void copy(const std::vector<PageArea>& areas);
  std::vector<PageArea> rearm();
  std::vector<PageArea> without_copy() const;
  void copy_written(std::vector<PageArea> unchanged_without_copy, const StopBriefly& stop_briefly);
  std::uint64_t keep_newest(std::string& tag, std::uint32_t place, std::uint32_t process) const;
  std::uint64_t settle_copies(std::uint32_t process);
  std::uint64_t refer_to_earlier(std::uint32_t process);
  std::vector<Part> parts_of(const std::vector<PageArea>& areas) const;
  Remaining look_at(const PageArea& area, RemoteRange range) const;

  pid_t pid_;
  RemoteMemory memory_;
  ExtentWriter& writer_;
  std::vector<PageArea> chosen_;  // tracked
  std::uint64_t total_ = 0;
  std::uint64_t expected_ = 0;
  std::uint64_t outside_ = 0;
  std::unique_ptr<WriteTracker> tracker_;
  std::optional<EarlierPages> earlier_;
  bool has_caught_up_ = false;
  bool uses_earlier_ = false;
  std::mutex mutex_;  // protects what follows while several threads copy
  CopyTable copies_;
  std::vector<std::uint32_t> extents_;
  PageRuns copied_;  // of the table, before the program is frozen
  PageRuns valid_;
};

}  // namespace crs::engine
