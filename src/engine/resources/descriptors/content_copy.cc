#include "engine/resources/descriptors/content_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;

// For pairs of file systems that copy_file_range(2) does not serve.
void copy_by_hand(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset, std::uint64_t bytes,
                  const CopyNames& names) {
  std::vector<std::byte> buffer(std::min(bytes, kPieceBytes));
  while (bytes > 0) {
    const std::span<std::byte> piece = std::span(buffer).first(std::min<std::uint64_t>(bytes, buffer.size()));
    pread_exact(from, names.from, piece, from_offset);
    pwrite_all(to, names.to, piece, to_offset);
    from_offset += piece.size();
    to_offset += piece.size();
    bytes -= piece.size();
  }
}

std::string copy_of(std::string_view what) { return fmt::format("the snapshot's copy of {}", what); }

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

std::uint64_t size_of(int file, std::string_view what) {
  struct stat status{};
  if (::fstat(file, &status) != 0) fail_errno(errno, "cannot look at {}", what);
  return static_cast<std::uint64_t>(status.st_size);
}

// Calls action(start, end, is_data) for what is data and what is a hole of an object, in order.
template <typename Action>
void for_each_part(const image::ContentObject& object, Action&& action) {
  std::uint64_t end = 0;
  for (const image::ContentObject::Extent& extent : object.data()) {
    if (extent.offset() > end) action(end, extent.offset(), false);
    end = extent.offset() + extent.bytes();
    action(extent.offset(), end, true);
  }
  if (end < object.size()) action(end, object.size(), false);
}

bool reads_zero(int file, std::uint64_t start, std::uint64_t end, std::string_view what) {
  std::vector<std::byte> buffer(std::min(end - start, kPieceBytes));
  while (start < end) {
    const auto [data, data_end] = next_data(file, start, end, what);
    if (data >= end) return true;
    const std::span piece = std::span(buffer).first(std::min<std::uint64_t>(data_end - data, buffer.size()));
    pread_exact(file, what, piece, data);
    if (!is_zero(piece)) return false;
    start = data + piece.size();
  }
  return true;
}

bool is_equal(int file, std::uint64_t offset, int packed, std::uint64_t packed_offset, std::uint64_t bytes,
              std::string_view what) {
  std::vector<std::byte> buffer(2 * std::min(bytes, kPieceBytes));
  while (bytes > 0) {
    const std::size_t piece = std::min<std::uint64_t>(bytes, buffer.size() / 2);
    const std::span one = std::span(buffer).first(piece);
    const std::span other = std::span(buffer).subspan(buffer.size() / 2, piece);
    pread_exact(file, what, one, offset);
    pread_exact(packed, what, other, packed_offset);
    if (!std::ranges::equal(one, other)) return false;
    offset += piece;
    packed_offset += piece;
    bytes -= piece;
  }
  return true;
}

void write_zeros(int file, std::uint64_t start, std::uint64_t end, std::string_view what) {
  const std::uint64_t present = std::min(end, size_of(file, what));  // what is beyond reads as zero by itself
  if (start >= present) return;
  if (::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start),
                  static_cast<off_t>(present - start)) == 0)
    return;
  const std::vector<std::byte> zeros(std::min(present - start, kPieceBytes));
  while (start < present) {
    const std::span piece = std::span(zeros).first(std::min<std::uint64_t>(present - start, zeros.size()));
    pwrite_all(file, what, piece, start);
    start += piece.size();
  }
}

// Fills `buffer` from `offset` on as far as the file's `size` goes. Always asks for all of it: with O_DIRECT, which a
// description may have, length, place and offset must be those of whole blocks (open(2)).
std::span<const std::byte> read_piece(int file, std::span<std::byte> buffer, std::uint64_t offset, std::uint64_t size,
                                      std::string_view what) {
  const std::uint64_t wanted = std::min<std::uint64_t>(size - offset, buffer.size());
  std::uint64_t got = 0;
  while (got < wanted) {
    const ssize_t bytes = ::pread(file, buffer.data() + got, buffer.size() - got, static_cast<off_t>(offset + got));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) fail_errno(errno, "cannot read {}", what);
    if (bytes == 0) fail(ErrorKind::Damaged, "{} ends early", what);
    got += static_cast<std::uint64_t>(bytes);
  }
  return buffer.first(wanted);
}

}  // namespace

void append_extent(image::ContentObject& object, std::uint64_t offset, std::uint64_t bytes) {
  if (object.data_size() > 0) {
    image::ContentObject::Extent& last = *object.mutable_data(object.data_size() - 1);
    if (last.offset() + last.bytes() == offset) return last.set_bytes(last.bytes() + bytes);
  }
  image::ContentObject::Extent& extent = *object.add_data();
  extent.set_offset(offset);
  extent.set_bytes(bytes);
}

void needing_room(std::string_view what, const std::function<void()>& action) {
  try {
    action();
  } catch (Error& error) {
    if (error.error_number() == ENOSPC || error.error_number() == EDQUOT)
      error.advise(fmt::format("Make room on the file system of {}", what));
    if (error.error_number() == EFBIG) error.advise("Raise the limit of file sizes (ulimit -f)");
    throw;
  }
}

void copy_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset, std::uint64_t bytes,
                const CopyNames& names) {
  while (bytes > 0) {
    auto in = static_cast<off64_t>(from_offset);
    auto out = static_cast<off64_t>(to_offset);
    const ssize_t copied =
        ::copy_file_range(from, &in, to, &out, std::min<std::uint64_t>(bytes, std::uint64_t{1} << 30), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0 && !is_unsupported(errno)) fail_errno(errno, "cannot copy {} to {}", names.from, names.to);
    // 0 is the end of the file, but also what some file systems say where they cannot: reading tells.
    if (copied <= 0) return copy_by_hand(from, from_offset, to, to_offset, bytes, names);
    from_offset += static_cast<std::uint64_t>(copied);
    to_offset += static_cast<std::uint64_t>(copied);
    bytes -= static_cast<std::uint64_t>(copied);
  }
}

std::uint64_t pack_content(int from, std::uint64_t size, int to, image::ContentObject& object, std::string_view what) {
  const std::string copy = copy_of(what);
  std::uint64_t packed = 0;
  for (std::uint64_t offset = 0; offset < size;) {
    const auto [start, end] = next_data(from, offset, size, what);
    if (start >= end) break;
    copy_range(from, start, to, packed, end - start, {what, copy});
    image::ContentObject::Extent& extent = *object.add_data();
    extent.set_offset(start);
    extent.set_bytes(end - start);
    packed += end - start;
    offset = end;
  }
  return packed;
}

std::uint64_t pack_content_without_seeking(int from, std::uint64_t size, int to, image::ContentObject& object,
                                           std::string_view what) {
  constexpr std::size_t kBlock = 4096;
  std::vector<std::byte> storage(kPieceBytes + kBlock);
  void* start = storage.data();
  std::size_t room = storage.size();
  std::align(kBlock, kPieceBytes, start, room);
  const std::span buffer(static_cast<std::byte*>(start), kPieceBytes);
  const std::string copy = copy_of(what);
  std::uint64_t packed = 0;
  for (std::uint64_t offset = 0; offset < size; offset += kPieceBytes) {
    const std::span<const std::byte> piece = read_piece(from, buffer, offset, size, what);
    for (std::size_t at = 0; at < piece.size(); at += kBlock) {
      const std::span block = piece.subspan(at, std::min(kBlock, piece.size() - at));
      if (is_zero(block)) continue;
      pwrite_all(to, copy, block, packed);
      append_extent(object, offset + at, block.size());
      packed += block.size();
    }
  }
  return packed;
}

void unpack_content(int from, int to, const image::ContentObject& object, std::string_view what) {
  needing_room(what, [&] {
    if (::ftruncate(to, static_cast<off_t>(object.size())) != 0)
      fail_errno(errno, "cannot give {} its size of {} bytes", what, object.size());
  });
  const std::string copy = copy_of(what);
  needing_room(what, [&] {
    std::uint64_t packed = 0;
    for (const image::ContentObject::Extent& extent : object.data()) {
      copy_range(from, packed, to, extent.offset(), extent.bytes(), {copy, what});
      packed += extent.bytes();
    }
  });
}

void write_over_content(int from, int to, const image::ContentObject& object, std::string_view what) {
  const std::string copy = copy_of(what);
  needing_room(what, [&] {
    std::uint64_t packed = 0;
    for_each_part(object, [&](std::uint64_t start, std::uint64_t end, bool is_data) {
      if (!is_data) return write_zeros(to, start, end, what);
      copy_range(from, packed, to, start, end - start, {copy, what});
      packed += end - start;
    });
  });
  needing_room(what, [&] {
    if (::ftruncate(to, static_cast<off_t>(object.size())) != 0)
      fail_errno(errno, "cannot give {} its size of {} bytes", what, object.size());
  });
}

bool holds_content(int file, int packed, const image::ContentObject& object, std::string_view what) {
  if (size_of(file, what) != object.size()) return false;
  bool same = true;
  std::uint64_t offset = 0;
  for_each_part(object, [&](std::uint64_t start, std::uint64_t end, bool is_data) {
    same = same &&
           (is_data ? is_equal(file, start, packed, offset, end - start, what) : reads_zero(file, start, end, what));
    if (is_data) offset += end - start;
  });
  return same;
}

void copy_with_holes(int from, int to, std::string_view what) {
  const std::uint64_t size = size_of(from, what);
  const std::string copy = fmt::format("a copy of {}", what);
  for (std::uint64_t offset = 0; offset < size;) {
    const auto [start, end] = next_data(from, offset, size, what);
    if (start >= end) break;
    needing_room(copy, [&] { copy_range(from, start, to, start, end - start, {what, copy}); });
    offset = end;
  }
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) fail_errno(errno, "cannot copy {}", what);
}

}  // namespace crs::engine
