// From extents back into the memory of a process: the inverse of page_saver.h.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/pages/page_runs.h"
#include "engine/tracee/remote_memory.h"
#include "store/extents/extent_file.h"

namespace crs::engine {

class PageLoader {
 public:
  // `reader` must outlive this. Checks that the tag of every extent fits its payload and that every page lies in one of
  // `allowed` (ascending, without overlaps); throws an Error of kind Damaged. Nothing is read yet.
  PageLoader(const ExtentReader& reader, const std::vector<RemoteRange>& allowed);

  std::uint64_t pages() const noexcept { return pages_; }

  // Of each of `areas` (ascending, without overlaps): whether there is a page for it.
  std::vector<bool> touched(const std::vector<RemoteRange>& areas) const;

  // Writes every page into `target`, whose areas must exist and be writable, on `threads` threads (0: as many as there
  // are cores). Each extent is verified before it is written. Throws.
  void load(const RemoteMemory& target, unsigned threads = 0) const;

 private:
  const ExtentReader* reader_;
  std::vector<ExtentPages> extents_;
  std::uint64_t pages_ = 0;
};

}  // namespace crs::engine
