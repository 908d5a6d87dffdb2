// From the memory of a frozen process into extents: scan, read, drop zeros, checksum, compress and write, on all cores
// at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/pages/page_runs.h"
#include "engine/tracee/remote_memory.h"
#include "store/extents/extent_file.h"

namespace crs::engine {

// The largest payload of an extent of pages. Each worker holds one, and as much again for compressing and padding.
inline constexpr std::uint64_t kPagePayload = std::uint64_t{1} << 20;

enum class PageChoice {
  Own,       // the pages that PageScan calls Own
  Existing,  // every page; all can be read
  All,       // every page that can be read; those that cannot (beyond the end of a mapped file) count as zeros
  Given,     // every page; `content` has them already
};

// A part of one area, and how it is to be saved.
struct PageArea {
  RemoteRange range;
  PageChoice choice = PageChoice::Own;
  bool readable = true;     // the program itself may read it
  bool starts_zero = true;  // a fresh area reads as zeros, so that pages of zeros need not be saved
  std::shared_ptr<const std::vector<std::byte>> content = {};  // Given: of the range
};

struct SavedPages {
  std::uint64_t pages = 0;
  std::uint64_t zero_pages = 0;  // looked at and left out
  PageRuns guards;               // pages of `Own` areas that are guards (MADV_GUARD_INSTALL)
};

// Appends the pages of `areas` (ascending) to `writer`, which is not finished, as those of process `process` of the
// tree. The process must not run meanwhile. `threads` 0: as many as there are cores. Throws.
SavedPages save_page_areas(const RemoteMemory& source, std::span<const PageArea> areas, ExtentWriter& writer,
                           std::uint32_t process = 0, unsigned threads = 0);

}  // namespace crs::engine
