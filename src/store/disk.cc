#include "store/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>  // renameat2
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "base/parallel.h"

namespace crs {
namespace {

// For file systems that do not know RENAME_NOREPLACE (rename(2): EINVAL), some network ones. The caller holds the job's
// lock, and a snapshot is a directory that is not empty, which a plain rename never replaces either.
int rename_if_absent(int directory, const char* from, const char* to) {
  if (::faccessat(directory, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return -1;
  }
  return ::renameat(directory, from, directory, to);
}

}  // namespace

void advise_about_space(Error& error) {
  const int number = error.error_number();
  if (number != ENOSPC && number != EDQUOT && number != EFBIG) return;
  error.advise(
      "Remove snapshots you no longer need, raise the quota or file size limit, or put the store elsewhere with "
      "CRS_STORE");
}

Error disk_error(std::string_view what, int error_number) {
  Error error = Error::from_errno(what, error_number);
  advise_about_space(error);
  if (error_number == EACCES || error_number == EROFS || error_number == EPERM) {
    error.advise("Put the store where you can write, with CRS_STORE");
  }
  return error;
}

void Disk::sync(int descriptor, const std::string& path) {
  // EINVAL: the file system has nothing to sync here (fsync(2)); some have none for directories.
  if (::fsync(descriptor) != 0 && errno != EINVAL) throw disk_error(fmt::format("cannot sync {}", path), errno);
}

void Disk::sync_all(std::span<const Unsynced> files) {
  for_each_in_parallel(
      files.size(), [&](std::size_t number) { sync(files[number].descriptor, files[number].path); },
      static_cast<unsigned>(std::max<std::size_t>(files.size(), 1)));
}

void Disk::write(int descriptor, const std::string& path, std::string_view bytes) {
  try {
    write_all(descriptor, path, as_byte_span(bytes));
  } catch (const Error& error) {
    throw disk_error(fmt::format("cannot write {}", path), error.error_number());
  }
}

void Disk::rename_new(int directory, const std::string& from, const std::string& to, const std::string& path) {
  int result = ::renameat2(directory, from.c_str(), directory, to.c_str(), RENAME_NOREPLACE);
  if (result != 0 && (errno == EINVAL || errno == ENOSYS))
    result = rename_if_absent(directory, from.c_str(), to.c_str());
  if (result != 0) throw disk_error(fmt::format("cannot rename {} to {} in {}", from, to, path), errno);
}

void Disk::rename_over(int directory, const std::string& from, const std::string& to, const std::string& path) {
  if (::renameat(directory, from.c_str(), directory, to.c_str()) != 0) {
    throw disk_error(fmt::format("cannot rename {} to {} in {}", from, to, path), errno);
  }
}

void PendingSyncs::add(FileDescriptor file, std::string path) {
  unsynced_.push_back({file.get(), std::move(path)});
  files_.push_back(std::move(file));
  if (files_.size() == kMost) finish();
}

void PendingSyncs::finish() {
  disk_.sync_all(unsynced_);
  unsynced_.clear();
  files_.clear();
}

Replacement::Replacement(Disk& disk, int directory, std::string name, std::string_view content, std::string path)
    : disk_(disk), directory_(directory), name_(std::move(name)), path_(std::move(path)) {
  file_ = FileDescriptor(
      ::openat(directory_, fresh().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file_) throw disk_error(fmt::format("cannot create {}/{}", path_, fresh()), errno);
  try {
    disk_.write(file_.get(), unsynced().path, content);
  } catch (const Error&) {
    ::unlinkat(directory_, fresh().c_str(), 0);
    throw;
  }
}

Replacement::~Replacement() {
  if (!is_put_) ::unlinkat(directory_, fresh().c_str(), 0);
}

void Replacement::put() {
  file_.reset();  // a network file system shows others what was written when it is closed
  disk_.rename_over(directory_, fresh(), name_, path_);
  is_put_ = true;
}

void replace_file(Disk& disk, int directory, const std::string& name, std::string_view content, const std::string& path,
                  Durability durability) {
  Replacement replacement(disk, directory, name, content, path);
  if (durability == Durability::Durable) disk.sync(replacement.unsynced().descriptor, replacement.unsynced().path);
  replacement.put();
  if (durability == Durability::Durable) disk.sync(directory, path);
}

}  // namespace crs
