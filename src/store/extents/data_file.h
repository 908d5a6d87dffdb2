// A data file of extents to be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"

namespace crs {

// Reads through the page cache what is in it, and past it (open(2), O_DIRECT) what is not: a snapshot is read once, and
// the memory that its cached pages would take is what a restart needs. May be used by several threads at once.
class DataFile {
 public:
  // Throws Damaged if `path` is missing or no regular file.
  explicit DataFile(const std::string& path);
  // Of an open descriptor, always through the page cache; `name` is for messages.
  DataFile(FileDescriptor file, const std::string& name);

  std::uint64_t size() const noexcept { return size_; }
  // Fills `bytes`; `name` is for messages. Past the page cache only if `bytes` is in whole pages. Throws.
  void read(const std::string& name, std::span<std::byte> bytes, std::uint64_t offset) const;
  // What is open, for whoever closes all others.
  std::vector<int> descriptors() const;

 private:
  bool read_directly(std::span<std::byte> bytes, std::uint64_t offset) const;

  FileDescriptor file_;
  FileDescriptor direct_;  // none: nothing is to be gained
  std::uint64_t size_ = 0;
};

// Opens a regular file to read. Throws Damaged if it is missing or a symbolic link.
FileDescriptor open_stored(const std::string& path);
// The size of what is open. Throws Damaged if it is no regular file.
std::uint64_t stored_size(int descriptor, const std::string& name);

}  // namespace crs
