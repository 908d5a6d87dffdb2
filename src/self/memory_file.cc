#include "self/memory_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/io.h"

namespace crs::self {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr std::string_view kMemoryMagic = "CRSSELF1";
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kEntryBytes = 40;
constexpr std::size_t kHashBytes = 16;
constexpr std::uint64_t kMostAreas = std::uint64_t{1} << 20;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

void append_number(std::string& text, std::uint64_t number) {
  text.append(reinterpret_cast<const char*>(&number), sizeof number);
}

std::uint64_t number_at(std::string_view text, std::size_t offset) {
  std::uint64_t number = 0;
  std::memcpy(&number, text.data() + offset, sizeof number);
  return number;
}

// Reads the program's own memory without dying of what is not there.
void read_own_memory(const std::byte* memory, std::span<std::byte> piece, const Area& area) {
  const iovec from{const_cast<std::byte*>(memory), piece.size()};
  const iovec to{piece.data(), piece.size()};
  const ssize_t got = ::process_vm_readv(::getpid(), &to, 1, &from, 1, 0);
  if (got == static_cast<ssize_t>(piece.size())) return;
  // Some sandboxes forbid the call altogether.
  if (got < 0 && (errno == EPERM || errno == ENOSYS)) {
    std::memcpy(piece.data(), memory, piece.size());
    return;
  }
  const int problem = got < 0 ? errno : EFAULT;
  throw Error::from_errno(
      fmt::format("protected memory {} ({} bytes at {}) cannot be read", area.id, area.bytes, area.memory), problem)
      .advise("Unprotect memory before it is freed");
}

Hash128 write_area(int file, const std::string& path, const Area& area, std::uint64_t offset) {
  std::vector<std::byte> buffer(std::min(area.bytes, kPieceBytes));
  StreamHash hash;
  for (std::size_t done = 0; done < area.bytes;) {
    const auto piece = std::span(buffer).first(std::min(buffer.size(), area.bytes - done));
    read_own_memory(static_cast<const std::byte*>(area.memory) + done, piece, area);
    hash.update(piece);
    pwrite_all(file, path, piece, offset + done);
    done += piece.size();
  }
  return hash.digest();
}

}  // namespace

std::uint64_t write_memory_file(const std::string& path, const std::vector<Area>& areas) {
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
  // Whatever the program's umask: crs reads it next.
  if (::fchmod(file.get(), S_IRUSR | S_IWUSR) != 0) fail_errno(errno, "cannot set the mode of {}", path);
  std::string head(kMemoryMagic);
  append_number(head, areas.size());
  const std::uint64_t first = kHeaderBytes + areas.size() * kEntryBytes + kHashBytes;
  std::uint64_t offset = first;
  for (const Area& area : areas) {
    const Hash128 hash = write_area(file.get(), path, area, offset);
    append_number(head, area.id);
    append_number(head, offset);
    append_number(head, area.bytes);
    head += hash.to_bytes();
    offset += area.bytes;
  }
  head += hash128(as_byte_span(head)).to_bytes();
  pwrite_all(file.get(), path, as_byte_span(head), 0);
  return offset - first;
}

MemoryFile::MemoryFile(const std::string& path)
    : path_(path), file_(open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)) {
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path_);
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || bytes < kHeaderBytes + kHashBytes) {
    fail(ErrorKind::Damaged, "{} holds no protected memory", path_);
  }
  std::string header(kHeaderBytes, '\0');
  pread_exact(file_.get(), path_, std::as_writable_bytes(std::span(header)), 0);
  const std::uint64_t count = number_at(header, 8);
  if (!std::string_view(header).starts_with(kMemoryMagic) || count > kMostAreas ||
      kHeaderBytes + count * kEntryBytes + kHashBytes > bytes) {
    fail(ErrorKind::Damaged, "{} holds no protected memory", path_);
  }
  read_entries(count, bytes);
}

void MemoryFile::read_entries(std::uint64_t count, std::uint64_t file_bytes) {
  std::string head(kHeaderBytes + count * kEntryBytes + kHashBytes, '\0');
  pread_exact(file_.get(), path_, std::as_writable_bytes(std::span(head)), 0);
  const std::string_view summed = std::string_view(head).substr(0, head.size() - kHashBytes);
  if (hash128(as_byte_span(summed)).to_bytes() != head.substr(summed.size())) {
    fail(ErrorKind::Damaged, "the list of areas in {} is not what its checksum says", path_);
  }
  // A right checksum says nothing about who made it.
  std::uint64_t expected = head.size();
  for (std::size_t place = kHeaderBytes; place < summed.size(); place += kEntryBytes) {
    const std::uint64_t id = number_at(head, place);
    Entry entry{number_at(head, place + 8), number_at(head, place + 16),
                Hash128::from_bytes(std::string_view(head).substr(place + 24, kHashBytes))};
    const bool fits = entry.offset == expected && entry.bytes <= file_bytes - expected;
    if (!fits || !entries_.emplace(id, entry).second) {
      fail(ErrorKind::Damaged, "area {} in {} lies where it cannot lie", id, path_);
    }
    expected += entry.bytes;
  }
  if (expected != file_bytes) {
    fail(ErrorKind::Damaged, "{} has {} bytes instead of {}", path_, file_bytes, expected);
  }
}

std::optional<std::uint64_t> MemoryFile::bytes_of(std::uint64_t id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? std::nullopt : std::optional(found->second.bytes);
}

Hash128 MemoryFile::hash_of(const Entry& entry) const {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(entry.bytes, kPieceBytes));
  StreamHash hash;
  for (std::uint64_t done = 0; done < entry.bytes;) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), entry.bytes - done));
    pread_exact(file_.get(), path_, piece, entry.offset + done);
    hash.update(piece);
    done += piece.size();
  }
  return hash.digest();
}

void MemoryFile::read(std::uint64_t id, void* memory, std::size_t bytes) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) fail(ErrorKind::NotFound, "{} holds no protected memory {}", path_, id);
  const Entry& entry = found->second;
  if (entry.bytes != bytes) {
    fail(ErrorKind::Failed, "protected memory {} has {} bytes in the snapshot and {} in the program", id, entry.bytes,
         bytes);
  }
  // First without touching the memory: what is damaged must not be half in it.
  const auto check = [&](const Hash128& hash) {
    if (hash != entry.hash) {
      fail(ErrorKind::Damaged, "protected memory {} in {} is not what its checksum says", id, path_);
    }
  };
  check(hash_of(entry));
  const std::span destination(static_cast<std::byte*>(memory), bytes);
  pread_exact(file_.get(), path_, destination, entry.offset);
  check(hash128(destination));
}

}  // namespace crs::self
