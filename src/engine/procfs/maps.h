// /proc/PID/maps as values: proc_pid_maps(5).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
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

  // Whether both show the same file, or memory of none.
  bool is_of_same_object(const MapsLine& other) const {
    return shared == other.shared && device == other.device && inode == other.inode;
  }

  // `wanted`: PROT_ bits, all of them.
  bool permits(int wanted) const { return (protection & wanted) == wanted; }

  friend bool operator==(const MapsLine& one, const MapsLine& other) {
    return one.range.start == other.range.start && one.range.end == other.range.end &&
           one.protection == other.protection && one.shared == other.shared && one.offset == other.offset &&
           one.device == other.device && one.inode == other.inode && one.name == other.name;
  }
};

// Throws an Error if it is none.
MapsLine parse_maps_line(std::string_view line);
std::vector<MapsLine> parse_maps(std::string_view text);

std::vector<MapsLine> read_maps(pid_t pid);
std::optional<MapsLine> find_line(const std::vector<MapsLine>& lines, std::string_view name);
std::optional<MapsLine> find_line(const std::vector<MapsLine>& lines, RemoteAddress address);

}  // namespace crs::engine
