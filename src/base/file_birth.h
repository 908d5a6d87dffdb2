// When a file was made: its number alone does not tell a file from the next one, which a file system may give the same
// number (ext4 does at once).
#pragma once

#include <cstdint>

namespace crs {

// As statx(2) takes `directory`, `path` and `flags`. In nanoseconds since 1970; 0 if the file system does not tell, or
// the file cannot be looked at.
std::int64_t file_birth(int directory, const char* path, int flags);

// What is recorded of a file, or is the case now.
struct FileIncarnation {
  std::uint64_t inode = 0;
  std::int64_t born = 0;  // as file_birth() gives it
};
// Whether both are of one file, as far as it can be told.
bool is_same_file(FileIncarnation one, FileIncarnation other);

}  // namespace crs
