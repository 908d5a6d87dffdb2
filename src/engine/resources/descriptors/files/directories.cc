#include "engine/resources/descriptors/files/directories.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_birth.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/files/identity.h"
#include "engine/resources/descriptors/files/permissions.h"

namespace crs::engine {
namespace {

FileDescriptor open_directory(const image::OpenDescription& description) {
  return in_context("the program had this directory open at the checkpoint", [&] {
    const std::string& path = description.directory().file().path();
    // Not by O_DIRECTORY, which the program would see (fcntl(2), F_GETFL).
    struct stat now{};
    if (::stat(path.c_str(), &now) == 0 && !S_ISDIR(now.st_mode)) fail_errno(ENOTDIR, "cannot open {}", path);
    return open_again(path, description.status_flags());
  });
}

}  // namespace

bool DirectoryKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  return S_ISDIR(seen.status.st_mode) &&
         (reach_of(seen) == Reach::ByPath || is_removed_directory(seen.status, seen.link));
}

void DirectoryKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::Directory& directory = *description.mutable_directory();
  if (is_removed_directory(seen.status, seen.link))
    return directory.set_object(table.context.objects.keep_directory(
        table.context, fmt::format("/proc/self/fd/{}", seen.copy.get()), seen.status, seen.link));
  if (!look_at_permissions(table, seen)) {
    table.refuse(seen, fmt::format("directory {}, whose permissions would not let a restart open it again (chmod u+r, "
                                   "if it is yours)",
                                   seen.link));
  }
  identify(table, seen, *directory.mutable_file());
  directory.set_position(seen.position);
}

void DirectoryKind::check(TableCheck& table, const Description& description) {
  if (description.directory().has_object())
    return check_object(table, description.directory().object(), image::ContentObject::DIRECTORY);
  check_identity(description.directory().file());
  open_directory(description);
}

Opener DirectoryKind::opener(const Description& description) const { return opener_of(description.directory().file()); }

FileDescriptor DirectoryKind::open(TableRestore& table, const Description& description) {
  const image::Directory& directory = description.directory();
  if (directory.has_object()) return reopen(table.object(directory.object()), description.status_flags());
  FileDescriptor opened = open_directory(description);
  if (directory.position() == 0) return opened;
  // The offset is a cookie of the file system: it means the same place only in the same directory.
  const auto position = static_cast<off_t>(directory.position());
  struct stat now{};
  const bool same = ::fstat(opened.get(), &now) == 0 &&
                    is_same_file({.inode = directory.file().inode(), .born = directory.file().born()},
                                 {.inode = now.st_ino, .born = file_birth(opened.get(), "", AT_EMPTY_PATH)});
  if (!same || ::lseek(opened.get(), position, SEEK_SET) != position) {
    table.context.notes.push_back(fmt::format(
        "directory {}, which the program was reading, is read again from its start", directory.file().path()));
  }
  return opened;
}

}  // namespace crs::engine
