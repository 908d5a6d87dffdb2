// Whether the loader can be trusted with a file: a mapped part that the file does not have ends the program with SIGBUS
// when it is touched (mmap(2)), and a pipe makes whoever opens it wait.
#pragma once

#include <filesystem>

namespace crs {

// Throws an Error for what is no regular file, and for a shared object (elf(5)) that has not all that its program
// headers speak of. What is no such object for this machine at all passes: the loader says that in its own words.
void check_object_file(const std::filesystem::path& file);

}  // namespace crs
