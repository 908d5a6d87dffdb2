// Mapped files: which file a line of maps means, and whether a path still leads to a recorded one.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "crs/component.hpp"
#include "engine/procfs/other_names.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/smaps.h"

namespace crs::engine {

enum class BackingKind {
  File,            // a regular file that `path` reaches
  Gone,            // unlinked, or another file is at its path now; also memfds
  ZeroDevice,      // /dev/zero mapped privately: anonymous memory
  SharedZero,      // shared anonymous memory
  SystemV,         // a System V segment
  AsynchronousIo,  // the ring of a context of asynchronous I/O
  Unsupported,     // `path` says what it is
};

struct Backing {
  BackingKind kind = BackingKind::Unsupported;
  std::string path;  // File: absolute; Gone: as shown; Unsupported: what it is, in words
};

// Whether that is a System V segment, whose id is the inode.
bool is_segment(const MapsLine& line);
// Whether that is memory that processes share without a file: such a segment, or shared anonymous memory.
bool is_shared_memory(const MapsLine& line);

// What lies behind lines with an inode, and what a restart will have to know of it. Looks at the file system, once for
// each file.
class Backings {
 public:
  const Backing& of(const MapsLine& line);
  // As record_file(); nothing if it is gone.
  const std::optional<image::MappedFile>& record_of(const std::string& path);
  // Whether this user may map the file as `file` says that the program has mapped it.
  bool may_be_mapped(const image::MappedFile& file);

 private:
  Backing look_for(const MapsLine& line);

  OtherNames other_names_;
  std::map<std::pair<std::pair<dev_t, ino_t>, std::pair<std::string, bool>>, Backing> known_;
  std::map<std::string, std::optional<image::MappedFile>> records_;
  std::map<std::pair<std::string, bool>, bool> may_be_mapped_;
};

// Records path, identity, size and time of the file. False if it is gone.
bool record_file(const std::string& path, image::MappedFile& file);

// What is wrong with the file now ("FILE is missing"), or nothing. `executable`: it need not be mapped.
std::optional<std::string> what_changed(const image::MappedFile& file);

}  // namespace crs::engine
