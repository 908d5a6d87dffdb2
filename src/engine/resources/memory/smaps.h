// /proc/PID/smaps as values: proc_pid_smaps(5).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/procfs/maps.h"

namespace crs::engine {

// A line of maps with what smaps adds.
struct MappedArea : MapsLine {
  std::string flags;  // VmFlags with a space before and behind each code: " rd wr mr mw me "
  unsigned protection_key = 0;
  std::uint64_t page_bytes = kPageSize;  // larger for pages that were set aside (MAP_HUGETLB)
  std::uint64_t swapped_bytes =
      0;  // of shared memory: those of the whole range, also where this process has not touched it
  std::uint64_t anonymous_bytes = 0;
  std::uint64_t common_bytes = 0;  // that other processes have as well

  // `code` as in VmFlags: "lo".
  bool has(std::string_view code) const;
  // Tracked by CRS itself (WriteTracker), an area looks as if the program had a userfaultfd for it. Hidden, the mark
  // can be shown again.
  void hide_tracking();
  void show_tracking();
  // Apart from how many pages of what kind there are, from what comes and goes without the program's doing, and from
  // the protection, which maps shows.
  bool has_same_settings(const MappedArea& other) const;
  // Whether many of its pages are, until somebody writes to them, another process's as well (fork(2)). Of huge pages
  // smaps does not say it, and there may be none for a copy.
  bool is_copied_on_write() const {
    if (!shared && page_bytes != kPageSize) return true;
    return !shared && anonymous_bytes > 0 && common_bytes >= anonymous_bytes / 16;
  }
};

std::vector<MappedArea> parse_smaps(std::string_view text);

std::vector<MappedArea> read_smaps(pid_t pid);

}  // namespace crs::engine
