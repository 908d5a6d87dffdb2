// Directories of the store, reached from an open descriptor and never through a symbolic link. Paths are for messages.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/file_descriptor.h"

namespace crs {

struct TreeEntry {
  std::string name;  // relative to the top, parts separated by '/'
  struct stat status{};
};

// Null if there is no such entry. Throws an Error of kind Damaged if it is a symbolic link or anything but a directory.
FileDescriptor open_directory_if_present(int parent, const std::string& name, const std::string& path);

// The names in a directory, without "." and "..", sorted. A directory that was removed since it was opened has none.
std::vector<std::string> names_in(int directory, const std::string& path);

// Everything below a directory but the directories themselves, sorted by name.
std::vector<TreeEntry> list_tree(int directory, const std::string& path);

// The directories below a directory, inner ones first, the top itself not included.
std::vector<std::string> list_directories(int directory, const std::string& path);

// Removes `name` and all below it. What is already gone, or goes meanwhile by another's hand, is fine.
void remove_tree(int parent, const std::string& name, const std::string& path);

// Opens the existing regular file `name` below `directory` for reading, following no symbolic link. Throws an Error of
// kind Damaged if it is missing or something else.
FileDescriptor open_file_beneath(int directory, const std::string& name, const std::string& path);

// An existing directory `name` below `directory`, likewise.
FileDescriptor open_directory_beneath(int directory, const std::string& name, const std::string& path);

}  // namespace crs
