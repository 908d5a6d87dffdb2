// An exclusive lock between processes, held on a lock file (flock(2)) until the object ends or the process dies.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/file_descriptor.h"

namespace crs {

// A lock file may be removed by the one who holds it; those who wait then lock the one that takes its place. Where its
// directory is gone too, an Error with the number ENOENT is thrown.
class FileLock {
 public:
  // Creates the lock file if there is none. Empty: another one holds the lock.
  static std::optional<FileLock> try_acquire(int directory, const std::string& name, const std::string& path);

  // Waits up to `limit`. Calls `on_wait`, unless it is empty, once before the first wait. Empty: the limit has passed.
  static std::optional<FileLock> acquire(int directory, const std::string& name, const std::string& path,
                                         std::chrono::milliseconds limit, const std::function<void()>& on_wait);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
};

}  // namespace crs
