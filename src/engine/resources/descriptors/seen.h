// What the descriptor tables of frozen processes look like from outside: their open file descriptions, each with the
// numbers that lead to it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/fdinfo.h"

namespace crs::engine {

struct SeenNumber {
  int number = -1;
  bool close_on_exec = false;
  std::uint32_t process = 0;  // index of the process in whose table it is
  bool locked = false;        // the process holds locks through it

  friend auto operator<=>(const SeenNumber& a, const SeenNumber& b) {
    return std::pair(a.process, a.number) <=> std::pair(b.process, b.number);
  }
  friend bool operator==(const SeenNumber& a, const SeenNumber& b) { return (a <=> b) == 0; }
};

// One open file description.
struct Seen {
  std::vector<SeenNumber>
      numbers;          // ascending by process and number; none of what is on its way through a unix socket only
  FileDescriptor copy;  // this process's own number for the same description (pidfd_getfd(2))
  struct stat status{};
  std::uint32_t flags = 0;  // as F_GETFL gives them
  std::uint64_t position = 0;
  std::string link;  // what /proc/PID/fd/N shows, as a path from here
  FdInfo info;

  int first() const { return numbers.empty() ? -1 : numbers.front().number; }
  // The root, if it has no number.
  std::uint32_t first_process() const { return numbers.empty() ? 0 : numbers.front().process; }
  bool is_path_only() const;
  bool reads() const;
  bool writes() const;
  bool is_anonymous(std::string_view name) const { return link == "anon_inode:" + std::string(name); }
};

// All descriptors of the processes (each table once), in the order of their first numbers. Numbers with the same inode,
// flags and offset are told apart by kcmp(2), by sorting. Raises this process's own soft limit of open files to the
// hard one. Throws.
std::vector<Seen> look_at_descriptors(std::span<const CapturedProcess> processes);

}  // namespace crs::engine
