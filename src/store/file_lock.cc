#include "store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/error.h"
#include "store/disk.h"

namespace crs {
namespace {

FileDescriptor open_lock_file(int directory, const std::string& name, const std::string& path) {
  // For writing: network file systems grant an exclusive flock only on such a descriptor.
  FileDescriptor file(::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) throw disk_error(fmt::format("cannot open the lock file {}/{}", path, name), errno);
  return file;
}

bool is_there(int file, int directory, const std::string& name) {
  struct stat locked{};
  struct stat named{};
  return ::fstat(file, &locked) == 0 && ::fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

enum class Attempt { Locked, Held, Removed };

Attempt try_lock(int file, int directory, const std::string& name, const std::string& path) {
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) {
    // Whoever held it may have removed the file with the job's directory (JobDirectory::remove_if_unused).
    return is_there(file, directory, name) ? Attempt::Locked : Attempt::Removed;
  }
  if (errno == EWOULDBLOCK || errno == EINTR) return Attempt::Held;
  fail_errno(errno, "cannot lock {}/{}", path, name);
}

// Of whichever file has the name by then.
Attempt try_lock_present(FileDescriptor& file, int directory, const std::string& name, const std::string& path) {
  Attempt result = Attempt::Removed;
  while (result == Attempt::Removed) {
    if (!file) file = open_lock_file(directory, name, path);
    result = try_lock(file.get(), directory, name, path);
    if (result == Attempt::Removed) file = FileDescriptor();
  }
  return result;
}

}  // namespace

std::optional<FileLock> FileLock::try_acquire(int directory, const std::string& name, const std::string& path) {
  FileDescriptor file;
  if (try_lock_present(file, directory, name, path) != Attempt::Locked) return std::nullopt;
  return FileLock(std::move(file));
}

std::optional<FileLock> FileLock::acquire(int directory, const std::string& name, const std::string& path,
                                          std::chrono::milliseconds limit, const std::function<void()>& on_wait) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kLongestPause{50};
  const Clock::time_point end = Clock::now() + limit;
  FileDescriptor file;
  if (try_lock_present(file, directory, name, path) == Attempt::Locked) return FileLock(std::move(file));
  if (on_wait) on_wait();
  // flock(2) has no time limit, and a signal to interrupt it would be the whole process's: so it is asked again at
  // intervals.
  for (std::chrono::milliseconds pause{1}; Clock::now() < end; pause = std::min(pause * 2, kLongestPause)) {
    std::this_thread::sleep_until(std::min(Clock::now() + pause, end));
    if (try_lock_present(file, directory, name, path) == Attempt::Locked) return FileLock(std::move(file));
  }
  return std::nullopt;
}

}  // namespace crs
