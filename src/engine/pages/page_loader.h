// From extents back into the memory of a process: the inverse of page_saver.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/page_buffer.h"
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

  // Its extents count from 0 on, whatever their numbers are in the reader.
  std::size_t extents() const noexcept { return extents_.size(); }
  const PageRuns& runs(std::size_t extent) const { return extents_.at(extent).runs; }

  // Of each of `areas` (ascending, without overlaps): whether there is a page for it.
  std::vector<bool> touched(const std::vector<RemoteRange>& areas) const;

  // Writes every page into `target`, whose areas must exist and be writable, on `threads` threads (0: as many as there
  // are cores). Each extent is verified before it is written. Throws.
  void load(const RemoteMemory& target, unsigned threads = 0) const;
  // The same of some extents.
  void load(const RemoteMemory& target, std::vector<std::size_t> extents, unsigned threads = 0) const;

  // The content of one extent's pages, verified; it lies in `buffer`.
  std::span<const std::byte> read(std::size_t extent, PageBuffer& buffer) const;

 private:
  const ExtentReader* reader_;
  std::vector<std::size_t> numbers_;  // of the extents, as the reader counts them
  std::vector<ExtentPages> extents_;  // of each of these
  std::uint64_t pages_ = 0;
};

}  // namespace crs::engine
