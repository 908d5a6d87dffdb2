// The interface of the ioctl PAGEMAP_SCAN: linux/fs.h of Linux 6.7 (the guard bit: 6.15), which the headers at hand may
// not have yet. See Documentation/admin-guide/mm/pagemap.rst.
#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace crs::engine::pagemap_scan {

inline constexpr std::uint64_t kIsTracked = 1 << 0;  // PAGE_IS_WPALLOWED
inline constexpr std::uint64_t kIsWritten = 1 << 1;
inline constexpr std::uint64_t kIsFile = 1 << 2;
inline constexpr std::uint64_t kIsPresent = 1 << 3;
inline constexpr std::uint64_t kIsSwapped = 1 << 4;
inline constexpr std::uint64_t kIsZeroPage = 1 << 5;
inline constexpr std::uint64_t kIsGuard = 1 << 8;

inline constexpr std::uint64_t kProtectMatching = 1 << 0;  // PM_SCAN_WP_MATCHING

struct Region {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct Arguments {
  std::uint64_t size = sizeof(Arguments);
  std::uint64_t flags = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t walk_end = 0;  // out: how far it came
  std::uint64_t regions = 0;
  std::uint64_t region_count = 0;
  std::uint64_t max_pages = 0;  // no limit
  std::uint64_t inverted = 0;
  std::uint64_t all_of = 0;
  std::uint64_t any_of = 0;
  std::uint64_t returned = 0;
};

inline constexpr auto kRequest = _IOWR('f', 16, Arguments);

}  // namespace crs::engine::pagemap_scan
