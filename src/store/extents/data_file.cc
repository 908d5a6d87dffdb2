#include "store/extents/data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/io.h"

namespace crs {
namespace {

constexpr std::uint64_t kPage = 4096;
// What is smaller takes little of the page cache, and may be read again soon.
constexpr std::uint64_t kLarge = std::uint64_t{64} << 20;
constexpr int kReadFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

// cachestat(2), Linux 6.5, which the headers at hand may not have yet. False where it cannot be asked.
bool is_mostly_not_cached(int file, std::uint64_t size) {
  constexpr long kCachestat = 451;
  const std::array<std::uint64_t, 2> range = {0, size};
  std::array<std::uint64_t, 5> pages = {};  // cached, dirty, under write-back, evicted, recently evicted
  return ::syscall(kCachestat, file, range.data(), pages.data(), 0) == 0 && pages[0] * kPage < size / 2;
}

bool is_same(int one, int other) {
  struct stat first{};
  struct stat second{};
  return ::fstat(one, &first) == 0 && ::fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace

FileDescriptor open_stored(const std::string& path) {
  try {
    return open_file(path, kReadFlags);
  } catch (const Error& error) {
    if (error.error_number() == ENOENT) fail(ErrorKind::Damaged, "{} is missing", path);
    if (error.error_number() == ELOOP) fail(ErrorKind::Damaged, "{} is a symbolic link", path);
    throw;
  }
}

std::uint64_t stored_size(int descriptor, const std::string& name) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) fail_errno(errno, "cannot look at {}", name);
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::Damaged, "{} is no regular file", name);
  return static_cast<std::uint64_t>(status.st_size);
}

DataFile::DataFile(const std::string& path) : DataFile(open_stored(path), path) {
  if (!is_mostly_not_cached(file_.get(), size_)) return;
  if (size_ < kLarge) {
    ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_WILLNEED);  // it comes while other things are done
    return;
  }
  FileDescriptor direct(::open(path.c_str(), kReadFlags | O_CLOEXEC | O_DIRECT));
  if (direct && is_same(direct.get(), file_.get())) direct_ = std::move(direct);
}

DataFile::DataFile(FileDescriptor file, const std::string& name)
    : file_(std::move(file)), size_(stored_size(file_.get(), name)) {}

void DataFile::read(const std::string& name, std::span<std::byte> bytes, std::uint64_t offset) const {
  if (direct_ && read_directly(bytes, offset)) return;
  pread_exact(file_.get(), name, bytes, offset);
}

// False: it cannot be done, or the file ends there, and whoever reads it the other way will say why.
bool DataFile::read_directly(std::span<std::byte> bytes, std::uint64_t offset) const {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kPage != 0 || bytes.size() % kPage != 0 || offset % kPage != 0)
    return false;
  while (!bytes.empty()) {
    const ssize_t got = ::pread(direct_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

std::vector<int> DataFile::descriptors() const {
  std::vector<int> numbers = {file_.get()};
  if (direct_) numbers.push_back(direct_.get());
  return numbers;
}

}  // namespace crs
