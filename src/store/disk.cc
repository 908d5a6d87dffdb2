#include "store/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>  // renameat2
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"

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

void replace_file(Disk& disk, int directory, const std::string& name, std::string_view content, const std::string& path,
                  Durability durability) {
  const std::string fresh = name + ".new";
  const std::string fresh_path = path + "/" + fresh;
  FileDescriptor file(::openat(directory, fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) throw disk_error(fmt::format("cannot create {}", fresh_path), errno);
  try {
    disk.write(file.get(), fresh_path, content);
    if (durability == Durability::Durable) disk.sync(file.get(), fresh_path);
    file.reset();  // a network file system shows others what was written when it is closed
    disk.rename_over(directory, fresh, name, path);
  } catch (const Error&) {
    ::unlinkat(directory, fresh.c_str(), 0);
    throw;
  }
  if (durability == Durability::Durable) disk.sync(directory, path);
}

}  // namespace crs
