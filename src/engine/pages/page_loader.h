// From extents back into the memory of a process: the inverse of page_saver.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/pages/page_runs.h"
#include "engine/tracee/remote_memory.h"
#include "store/extents/extent_file.h"

namespace crs::engine {

class PageLoader {
 public:
  // `reader` must outlive this. Checks that the tag of every extent fits its payload and that every page lies in one of
  // `allowed` (ascending, without overlaps); throws an Error of kind Damaged. Nothing is read yet.
  // `extents`: the numbers of those that are this process's.
  PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed, std::span<const std::size_t> extents);
  // Of all its extents.
  PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed);

  std::uint64_t pages() const noexcept { return pages_; }

  // Of each of `areas` (ascending, without overlaps): whether there is a page for it.
  std::vector<bool> touched(const std::vector<RemoteRange>& areas) const;

  // Writes every page into `target`, whose areas must exist and be writable, on `threads` threads (0: as many as there
  // are cores). Each extent is verified before it is written. Throws.
  void load(const RemoteMemory& target, unsigned threads = 0) const;

 private:
  // `number`: its index in extents_. `buffer` is for the payload: fresh memory for each would cost more than reading
  // into it.
  void load_extent(std::size_t number, const RemoteMemory& target, std::vector<std::byte>& buffer) const;

  const ExtentReader* reader_;
  std::vector<std::size_t> extents_;
  std::vector<PageRuns> runs_;           // of each of these
  std::vector<std::size_t> by_address_;  // indices in both
  std::uint64_t pages_ = 0;
};

}  // namespace crs::engine
