#include "framework/object_file.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"

namespace crs {
namespace {

using Header = ElfW(Ehdr);
using Segment = ElfW(Phdr);

// Opened without waiting, whatever it has become since it was looked at.
FileDescriptor open_regular(const std::filesystem::path& file, std::uint64_t& bytes) {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) fail_errno(errno, "{}", file.native());
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::Failed, "{} is no regular file", file.native());
  FileDescriptor opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!opened || ::fstat(opened.get(), &status) != 0) fail_errno(errno, "opening {}", file.native());
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::Failed, "{} is no regular file", file.native());
  bytes = static_cast<std::uint64_t>(status.st_size);
  return opened;
}

bool lies_within(std::uint64_t offset, std::uint64_t length, std::uint64_t whole) {
  return offset <= whole && length <= whole - offset;
}

bool read_at(const FileDescriptor& file, void* data, std::size_t bytes, std::uint64_t offset) {
  return ::pread(file.get(), data, bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
}

bool is_for_this_machine(const Header& header) {
  const bool is_native = header.e_ident[EI_CLASS] == (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32);
  return is_native && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_DATA] == ELFDATA2LSB;
}

}  // namespace

void check_object_file(const std::filesystem::path& file) {
  std::uint64_t bytes = 0;
  const FileDescriptor opened = open_regular(file, bytes);
  Header header{};
  if (!read_at(opened, &header, sizeof header, 0) || !is_for_this_machine(header)) return;
  const auto incomplete = [&](const char* part) {
    fail(ErrorKind::Failed, "{} is incomplete: {} would lie beyond its {} bytes", file.native(), part, bytes);
  };
  if (header.e_phentsize != sizeof(Segment)) fail(ErrorKind::Failed, "{} has odd program headers", file.native());
  std::vector<Segment> segments(header.e_phnum);
  const std::size_t table = segments.size() * sizeof(Segment);
  if (!lies_within(header.e_phoff, table, bytes) || !read_at(opened, segments.data(), table, header.e_phoff))
    incomplete("the program headers");
  for (const Segment& segment : segments) {
    if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC) continue;
    if (!lies_within(segment.p_offset, segment.p_filesz, bytes)) incomplete("a segment");
  }
}

}  // namespace crs
