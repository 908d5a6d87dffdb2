#include "base/io.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"

namespace crs {

FileDescriptor open_file(const std::filesystem::path& path, int flags, mode_t mode, int directory) {
  const int number = ::openat(directory, path.c_str(), flags | O_CLOEXEC, mode);
  if (number < 0) fail_errno(errno, "cannot open {}", path.native());
  return FileDescriptor(number);
}

std::string read_file(int descriptor, std::string_view name, std::size_t limit) {
  std::string content;
  std::array<char, 65536> piece;
  while (true) {
    const ssize_t got = ::read(descriptor, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(errno, "cannot read {}", name);
    if (got == 0) return content;
    content.append(piece.data(), static_cast<std::size_t>(got));
    if (content.size() > limit) fail(ErrorKind::Failed, "{} is larger than {} bytes", name, limit);
  }
}

std::string read_file(const std::filesystem::path& path, std::size_t limit) {
  const FileDescriptor file = open_file(path, O_RDONLY);
  return read_file(file.get(), path.native(), limit);
}

std::string read_without_waiting(const std::filesystem::path& path, std::size_t limit) {
  const FileDescriptor file = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path.native());
  if (S_ISFIFO(status.st_mode)) fail(ErrorKind::Failed, "{} is a pipe, no file", path.native());
  return read_file(file.get(), path.native(), limit);
}

void write_all(int descriptor, std::string_view name, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_errno(errno, "cannot write {}", name);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void pwrite_all(int descriptor, std::string_view name, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_errno(errno, "cannot write {} at {}", name, offset);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
}

void pread_exact(int descriptor, std::string_view name, std::span<std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(errno, "cannot read {} at {}", name, offset);
    if (got == 0) fail(ErrorKind::Damaged, "{} ends at {}, {} bytes early", name, offset, bytes.size());
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

std::string read_link(const std::filesystem::path& path) {
  std::string target(256, '\0');
  while (true) {
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    if (length < 0) {
      Error error = Error::from_errno(fmt::format("cannot read the link {}", path.native()), errno);
      if (error.error_number() == ENAMETOOLONG)
        error.advise("The path that it leads to is longer than a path may be (4095 bytes): shorten a directory's name");
      throw error;
    }
    if (static_cast<std::size_t>(length) < target.size()) {
      target.resize(static_cast<std::size_t>(length));
      return target;
    }
    target.resize(target.size() * 2);
  }
}

namespace {

// As many as any machine allows in its usual state, or fewer where this one does (fs.nr_open, proc_sys_fs(5)).
rlim_t most_descriptors() noexcept {
  constexpr rlim_t kUsual = rlim_t{1} << 20;
  try {
    return std::min<rlim_t>(std::strtoull(read_file("/proc/sys/fs/nr_open").c_str(), nullptr, 10), kUsual);
  } catch (const std::exception&) {  // no /proc, or no descriptor left
    return kUsual;
  }
}

}  // namespace

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  // The hard limit too, where the caller may (CAP_SYS_RESOURCE): a program may have as many as that by itself.
  const rlim_t most = most_descriptors();
  const rlimit raised{.rlim_cur = most, .rlim_max = most};
  if (limit.rlim_max < most && ::setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  if (limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

std::string absolute_path(const std::string& path) {
  std::error_code problem;
  std::string absolute = std::filesystem::absolute(path, problem).native();
  if (!problem) return absolute;
  Error error = Error::from_errno(fmt::format("cannot tell where {} is", path), problem.value());
  if (problem.value() == ENOENT) error.advise("The working directory is gone: give a path that begins with a slash");
  throw error;
}

std::vector<int> inherited_descriptors() {
  std::vector<int> numbers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int number = std::atoi(entry.path().filename().c_str());
    const int flags = ::fcntl(number, F_GETFD);
    if (number > STDERR_FILENO && flags >= 0 && (flags & FD_CLOEXEC) == 0) numbers.push_back(number);
  }
  return numbers;
}

FileDescriptor duplicate_above(int descriptor, int lowest) {
  FileDescriptor copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, lowest));
  if (copy) return copy;
  const int problem = errno;  // EINVAL: RLIMIT_NOFILE is not above `lowest` (fcntl(2))
  throw Error::from_errno(fmt::format("cannot have a descriptor at {} or above", lowest), problem)
      .advise("The limit of open files is too low for this program here: raise it (ulimit -n, ulimit -Hn)");
}

std::size_t descriptor_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace crs
