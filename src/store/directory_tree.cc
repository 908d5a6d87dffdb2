#include "store/directory_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/error.h"

namespace crs {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct stat status_at(int directory, const std::string& name, const std::string& path) {
  struct stat status{};
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    fail_errno(errno, "cannot look at {}/{}", path, name);
  return status;
}

// Calls `on_file` with every entry that is no directory, and `on_directory` after each directory's content.
template <typename OnFile, typename OnDirectory>
void visit_tree(int directory, const std::string& prefix, const std::string& path, const OnFile& on_file,
                const OnDirectory& on_directory) {
  for (const std::string& name : names_in(directory, path)) {
    const struct stat status = status_at(directory, name, path);
    if (!S_ISDIR(status.st_mode)) {
      on_file(prefix + name, status);
      continue;
    }
    const std::string inner_path = fmt::format("{}/{}", path, name);
    const FileDescriptor inner = open_directory_if_present(directory, name, inner_path);
    if (!inner) fail(ErrorKind::Damaged, "{} vanished while it was read", inner_path);
    visit_tree(inner.get(), fmt::format("{}{}/", prefix, name), inner_path, on_file, on_directory);
    on_directory(prefix + name);
  }
}

FileDescriptor open_beneath(int directory, const std::string& name, int flags, const std::string& path) {
  struct open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  FileDescriptor file(static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how)));
  if (file) return file;
  if (errno == ENOENT || errno == ENOTDIR) fail(ErrorKind::Damaged, "{}/{} is missing", path, name);
  if (errno == ELOOP || errno == EXDEV) {
    fail(ErrorKind::Damaged, "{}/{} is or lies behind a symbolic link, which a snapshot never has", path, name);
  }
  fail_errno(errno, "cannot open {}/{}", path, name);
}

// False: a directory that is not empty.
bool remove_entry(int parent, const std::string& name, int flags, const std::string& path) {
  if (::unlinkat(parent, name.c_str(), flags) == 0 || errno == ENOENT) return true;
  if (errno == ENOTEMPTY || errno == EEXIST) return false;
  fail_errno(errno, "cannot remove {}/{}", path, name);
}

}  // namespace

FileDescriptor open_directory_if_present(int parent, const std::string& name, const std::string& path) {
  FileDescriptor directory(::openat(parent, name.c_str(), kDirectoryFlags));
  if (directory) return directory;
  if (errno == ENOENT) return {};
  if (errno == ELOOP || errno == ENOTDIR) {
    throw Error(ErrorKind::Damaged,
                fmt::format("{} is not a directory; symbolic links inside a store are not followed", path))
        .advise("Move it away, or name another store with CRS_STORE");
  }
  fail_errno(errno, "cannot open the directory {}", path);
}

std::vector<std::string> names_in(int directory, const std::string& path) {
  // A description of its own, so that the offset of the caller's does not move.
  FileDescriptor own(::openat(directory, ".", kDirectoryFlags));
  // Removed meanwhile.
  if (!own && errno == ENOENT) return {};
  if (!own) fail_errno(errno, "cannot open the directory {}", path);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), ::closedir);
  if (!stream) fail_errno(errno, "cannot read the directory {}", path);
  static_cast<void>(own.release());
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr && errno != 0) fail_errno(errno, "cannot read the directory {}", path);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

std::vector<TreeEntry> list_tree(int directory, const std::string& path) {
  std::vector<TreeEntry> entries;
  visit_tree(
      directory, "", path,
      [&](std::string name, const struct stat& status) { entries.push_back({std::move(name), status}); },
      [](const std::string&) {});
  std::ranges::sort(entries, {}, &TreeEntry::name);
  return entries;
}

std::vector<std::string> list_directories(int directory, const std::string& path) {
  std::vector<std::string> directories;
  visit_tree(
      directory, "", path, [](const std::string&, const struct stat&) {},
      [&](const std::string& name) { directories.push_back(name); });
  return directories;
}

void remove_tree(int parent, const std::string& name, const std::string& path) {
  struct stat status{};
  if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return;
    fail_errno(errno, "cannot look at {}/{}", path, name);
  }
  if (!S_ISDIR(status.st_mode)) {
    remove_entry(parent, name, 0, path);
    return;
  }
  const std::string inner_path = path + "/" + name;
  // Again if something came in meanwhile: another process may just be moving a removed snapshot here.
  constexpr int kAttempts = 8;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const FileDescriptor directory = open_directory_if_present(parent, name, inner_path);
    if (!directory) return;
    for (const std::string& inner : names_in(directory.get(), inner_path))
      remove_tree(directory.get(), inner, inner_path);
    if (remove_entry(parent, name, AT_REMOVEDIR, path)) return;
  }
  fail_errno(ENOTEMPTY, "cannot remove {}", inner_path);
}

FileDescriptor open_file_beneath(int directory, const std::string& name, const std::string& path) {
  // O_NONBLOCK: a FIFO in a file's place must not block the reader.
  FileDescriptor file = open_beneath(directory, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}/{}", path, name);
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::Damaged, "{}/{} is not a regular file", path, name);
  return file;
}

FileDescriptor open_directory_beneath(int directory, const std::string& name, const std::string& path) {
  return open_beneath(directory, name, O_RDONLY | O_DIRECTORY, path);
}

}  // namespace crs
