// What a frozen process's descriptor table looks like from outside: its open file descriptions, each with the numbers
// that lead to it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/fdinfo.h"

namespace crs::engine {

struct SeenNumber {
  int number = -1;
  bool close_on_exec = false;
};

// One open file description.
struct Seen {
  std::vector<SeenNumber> numbers;  // ascending; none of what is on its way through a unix socket only
  FileDescriptor copy;              // this process's own number for the same description (pidfd_getfd(2))
  struct stat status{};
  std::uint32_t flags = 0;  // as F_GETFL gives them
  std::uint64_t position = 0;
  std::string link;  // what /proc/PID/fd/N shows
  FdInfo info;

  int first() const { return numbers.empty() ? -1 : numbers.front().number; }
  bool is_path_only() const;
  bool reads() const;
  bool writes() const;
  bool is_anonymous(std::string_view name) const { return link == "anon_inode:" + std::string(name); }
};

// All descriptors of process `pid`, in the order of their first numbers. Numbers with the same inode, flags and offset
// are told apart by kcmp(2), by sorting. Raises this process's own soft limit of open files to the hard one. Throws.
std::vector<Seen> look_at_descriptors(pid_t pid, int pidfd);

// kcmp(2) of two numbers of one process: whether they lead to the same description.
bool is_same_description(pid_t pid, int first, int second);

}  // namespace crs::engine
