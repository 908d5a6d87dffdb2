// /proc/PID/maps and /proc/PID/smaps as values. See proc_pid_maps(5), proc_pid_smaps(5).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tracee/remote_address.h"

namespace crs::engine {

// One line of maps.
struct MapsLine {
  RemoteRange range;
  int protection = 0;  // PROT_READ | PROT_WRITE | PROT_EXEC
  bool shared = false;
  std::uint64_t offset = 0;  // in the file, bytes
  dev_t device = 0;          // of the file system, which some file systems do not show in stat(2)
  ino_t inode = 0;           // 0: no file
  std::string name;          // as shown: path (newline as \012), " (deleted)" behind it, "[heap]", or empty

  friend bool operator==(const MapsLine& one, const MapsLine& other) {
    return one.range.start == other.range.start && one.range.end == other.range.end && one.protection == other.protection &&
           one.shared == other.shared && one.offset == other.offset && one.device == other.device && one.inode == other.inode &&
           one.name == other.name;
  }
};

// A line of maps with what smaps adds.
struct MappedArea : MapsLine {
  std::string flags;  // VmFlags with a space before and behind each code: " rd wr mr mw me "
  unsigned protection_key = 0;
  std::uint64_t swapped_bytes = 0;  // of shared memory: those of the whole range, also where this process has not touched it

  // `code` as in VmFlags: "lo".
  bool has(std::string_view code) const;
};

std::vector<MapsLine> parse_maps(std::string_view text);
std::vector<MappedArea> parse_smaps(std::string_view text);

std::vector<MapsLine> read_maps(pid_t pid);
std::vector<MappedArea> read_smaps(pid_t pid);

}  // namespace crs::engine
