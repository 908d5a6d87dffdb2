// The file "memory" of a snapshot of component self: protected areas by number, checksummed.
//
//   offset 0   "CRSSELF1"
//          8   number of areas N, 8 bytes (all numbers are little-endian)
//         16   N entries of 40 bytes, by number: number, offset of its bytes in the file, how many, XXH3-128
//         (canonical)
//   16 + 40 N  XXH3-128 of everything before
//              the areas, one after the other
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "base/hash.h"

namespace crs::self {

inline constexpr const char* kMemoryFile = "memory";

struct Area {
  std::uint64_t id = 0;
  const void* memory = nullptr;
  std::size_t bytes = 0;
};

// Writes the areas into a new file. What is written is what is summed, also while other threads change the memory; what
// cannot be read is an Error. Returns how many bytes of memory it holds.
std::uint64_t write_memory_file(const std::string& path, const std::vector<Area>& areas);

// Trusts nothing in the file. Not safe for use by several threads.
class MemoryFile {
 public:
  // Checks all but the areas' content. Throws an Error of kind Damaged.
  explicit MemoryFile(const std::string& path);

  // How many bytes were saved under a number.
  std::optional<std::uint64_t> bytes_of(std::uint64_t id) const;
  std::size_t size() const noexcept { return entries_.size(); }

  // Fills the memory with what was saved. Throws an Error of kind Damaged, with the memory unchanged, if that is not
  // what the checksum says; of kind Failed if `bytes` is not how many there are.
  void read(std::uint64_t id, void* memory, std::size_t bytes) const;

 private:
  struct Entry {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    Hash128 hash;
  };

  void read_entries(std::uint64_t count, std::uint64_t file_bytes);
  Hash128 hash_of(const Entry& entry) const;

  std::string path_;
  FileDescriptor file_;
  std::map<std::uint64_t, Entry> entries_;
};

}  // namespace crs::self
