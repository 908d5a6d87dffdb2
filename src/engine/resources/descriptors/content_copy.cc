#include "engine/resources/descriptors/content_copy.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;

// For pairs of file systems that copy_file_range(2) does not serve.
void copy_by_hand(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset, std::uint64_t bytes,
                  std::string_view what) {
  std::vector<std::byte> buffer(std::min(bytes, kPieceBytes));
  while (bytes > 0) {
    const std::span<std::byte> piece = std::span(buffer).first(std::min<std::uint64_t>(bytes, buffer.size()));
    pread_exact(from, what, piece, from_offset);
    pwrite_all(to, what, piece, to_offset);
    from_offset += piece.size();
    to_offset += piece.size();
    bytes -= piece.size();
  }
}

bool is_unsupported(int error) {
  return error == EXDEV || error == EINVAL || error == EOPNOTSUPP || error == ENOSYS || error == EBADF ||
         error == EPERM;
}

// The next range of data at or after `offset`; {size, size} if only a hole is left. File systems without SEEK_DATA
// report all as data.
std::pair<std::uint64_t, std::uint64_t> next_data(int file, std::uint64_t offset, std::uint64_t size,
                                                  std::string_view what) {
  const off_t start = ::lseek(file, static_cast<off_t>(offset), SEEK_DATA);
  if (start < 0 && errno == ENXIO) return {size, size};
  if (start < 0 && errno == EINVAL) return {offset, size};
  if (start < 0) fail_errno(errno, "cannot find the data of {}", what);
  const off_t end = ::lseek(file, start, SEEK_HOLE);
  if (end < 0) fail_errno(errno, "cannot find the holes of {}", what);
  const auto limit = [size](off_t position) { return std::min(static_cast<std::uint64_t>(position), size); };
  return {limit(start), limit(end)};
}

}  // namespace

void copy_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset, std::uint64_t bytes,
                std::string_view what) {
  while (bytes > 0) {
    auto in = static_cast<off64_t>(from_offset);
    auto out = static_cast<off64_t>(to_offset);
    const ssize_t copied =
        ::copy_file_range(from, &in, to, &out, std::min<std::uint64_t>(bytes, std::uint64_t{1} << 30), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0 && !is_unsupported(errno)) fail_errno(errno, "cannot copy {}", what);
    // 0 is the end of the file, but also what some file systems say where they cannot: reading tells.
    if (copied <= 0) return copy_by_hand(from, from_offset, to, to_offset, bytes, what);
    from_offset += static_cast<std::uint64_t>(copied);
    to_offset += static_cast<std::uint64_t>(copied);
    bytes -= static_cast<std::uint64_t>(copied);
  }
}

std::uint64_t pack_content(int from, std::uint64_t size, int to, image::ContentObject& object, std::string_view what) {
  std::uint64_t packed = 0;
  for (std::uint64_t offset = 0; offset < size;) {
    const auto [start, end] = next_data(from, offset, size, what);
    if (start >= end) break;
    copy_range(from, start, to, packed, end - start, what);
    image::ContentObject::Extent& extent = *object.add_data();
    extent.set_offset(start);
    extent.set_bytes(end - start);
    packed += end - start;
    offset = end;
  }
  return packed;
}

void unpack_content(int from, int to, const image::ContentObject& object, std::string_view what) {
  if (::ftruncate(to, static_cast<off_t>(object.size())) != 0)
    fail_errno(errno, "cannot give {} its size of {} bytes", what, object.size());
  std::uint64_t packed = 0;
  for (const image::ContentObject::Extent& extent : object.data()) {
    copy_range(from, packed, to, extent.offset(), extent.bytes(), what);
    packed += extent.bytes();
  }
}

}  // namespace crs::engine
