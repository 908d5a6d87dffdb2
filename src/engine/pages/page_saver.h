// From the memory of a frozen process into extents: scan, read, drop zeros, checksum, compress and write, on all cores
// at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/pages/page_batches.h"
#include "engine/pages/page_runs.h"
#include "engine/tracee/remote_memory.h"
#include "store/extents/extent_file.h"

namespace crs::engine {

struct SavedPages {
  std::uint64_t pages = 0;
  std::uint64_t zero_pages = 0;  // looked at and left out
  PageRuns guards;               // pages of `Own` areas that are guards (MADV_GUARD_INSTALL)

  SavedPages& operator+=(const SavedPages& other);
};

class HeldPages;

// Appends the pages of `areas` (ascending) to `writer`, which is not finished, as those of process `process` of the
// tree. The process must not run meanwhile. What fits into `held`, if it is given, is only read, and to be written by
// HeldPages::write(). `threads` 0: as many as there are cores. Throws.
SavedPages save_page_areas(const RemoteMemory& source, std::span<const PageArea> areas, ExtentWriter& writer,
                           std::uint32_t process = 0, unsigned threads = 0, HeldPages* held = nullptr);

}  // namespace crs::engine
