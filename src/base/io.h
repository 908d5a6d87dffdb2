// Whole reads and writes: every function either transfers all it was asked for or throws an Error that names the file.
#pragma once

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"

namespace crs {

// open(2) with O_CLOEXEC added. `directory` is a descriptor or AT_FDCWD.
FileDescriptor open_file(const std::filesystem::path& path, int flags, mode_t mode = 0600, int directory = AT_FDCWD);

// The whole content; also of files whose size is not known before (/proc). Throws if it exceeds `limit` bytes.
std::string read_file(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);
// The same of what is there at once: a pipe in the file's place, which could be waited for without end, is an error.
std::string read_without_waiting(const std::filesystem::path& path, std::size_t limit);
std::string read_file(int descriptor, std::string_view name, std::size_t limit = std::size_t{1} << 30);

void write_all(int descriptor, std::string_view name, std::span<const std::byte> bytes);
void pwrite_all(int descriptor, std::string_view name, std::span<const std::byte> bytes, std::uint64_t offset);
// Throws an Error of kind Damaged if the file ends before `bytes` is full.
void pread_exact(int descriptor, std::string_view name, std::span<std::byte> bytes, std::uint64_t offset);

inline std::span<const std::byte> as_byte_span(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Whether there is nothing but zero bytes.
inline bool is_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// From the root directory on. Throws if that cannot be told.
std::string absolute_path(const std::string& path);

// The numbers, above those of the standard streams, that this process's next program would have open (execve(2)).
std::vector<int> inherited_descriptors();

// A copy with a number of at least `lowest`, closed on exec. Throws, naming the limit of open files.
FileDescriptor duplicate_above(int descriptor, int lowest);

// From now on this process may open as many files as it may allow itself (getrlimit(2), RLIMIT_NOFILE), with
// CAP_SYS_RESOURCE beyond its hard limit. Its children inherit that.
void raise_descriptor_limit() noexcept;
// As it is now.
std::size_t descriptor_limit() noexcept;

// readlink(2), of any length.
std::string read_link(const std::filesystem::path& path);

}  // namespace crs
