// Finding by which path something is watched, of which the kernel tells only the inode.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// One watch as /proc/PID/fdinfo shows it (proc_pid_fdinfo(5)).
struct WatchedInode {
  dev_t device = 0;
  ino_t inode = 0;
  std::string_view handle;  // file handle, in hexadecimal digits; empty where the file system has none
  int handle_type = 0;
};

// Through the file handle where the caller may (CAP_DAC_READ_SEARCH), else by looking where programs usually watch: in
// the directories that the program has open, works in or has files open in, and those around them.
std::optional<std::string> find_watched_path(const TableCapture& table, const WatchedInode& watched);

}  // namespace crs::engine
