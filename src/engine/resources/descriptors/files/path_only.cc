#include "engine/resources/descriptors/files/path_only.h"

#include <fcntl.h>

#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/files/content_files.h"
#include "engine/resources/descriptors/files/identity.h"

namespace crs::engine {
namespace {

// The path that /proc shows has no symbolic link on its way. Only O_NOFOLLOW can have opened a link at its end, so
// without that the program had something else there, and must have it again: a link is not followed.
FileDescriptor open_place(const image::OpenDescription& description) {
  const image::PathOnly& place = description.path_only();
  FileDescriptor opened = in_context("the program had it open (O_PATH) at the checkpoint", [&] {
    return open_again(place.file().path(), description.status_flags() | O_PATH);
  });
  struct stat now{};
  if (::lstat(place.file().path().c_str(), &now) != 0) fail_errno(errno, "cannot look at {}", place.file().path());
  if ((now.st_mode & S_IFMT) != place.type()) {
    fail(ErrorKind::Failed, "{} is of another type than at the checkpoint", place.file().path());
  }
  return opened;
}

// The place of an unlinked file whose content can be kept, or of a removed directory.
bool is_of_content(const TableCapture& table, const Seen& seen) {
  if (is_removed_directory(seen.status, seen.link)) return true;
  return S_ISREG(seen.status.st_mode) && reach_of(seen) == Reach::Gone &&
         !content_cannot_be_kept(seen.copy.get(), seen.link) && content_source(table, seen) != nullptr;
}

}  // namespace

bool PathOnlyKind::recognises(const TableCapture& table, const Seen& seen) {
  return seen.is_path_only() && (reach_of(seen) == Reach::ByPath || is_of_content(table, seen));
}

void PathOnlyKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::PathOnly& place = *description.mutable_path_only();
  place.set_type(seen.status.st_mode & S_IFMT);
  if (reach_of(seen) == Reach::ByPath) return identify(table, seen, *place.mutable_file());
  if (is_removed_directory(seen.status, seen.link))
    return place.set_object(table.context.objects.keep_directory(
        table.context, fmt::format("/proc/self/fd/{}", seen.copy.get()), seen.status, seen.link));
  if (seen.status.st_nlink > 0) {
    table.context.warnings.push_back(fmt::format(
        "{} is the place {} (O_PATH): the file has another name still, but comes back as a file of its own without it",
        table.name_of(seen), seen.link));
  }
  place.set_object(table.context.objects.keep(table.context, content_source(table, seen)->copy.get(), seen.link));
}

void PathOnlyKind::check(TableCheck& table, const Description& description) {
  const image::PathOnly& place = description.path_only();
  if (place.has_object()) {
    if ((place.type() != S_IFREG && place.type() != S_IFDIR) || (description.status_flags() & O_PATH) == 0)
      fail(ErrorKind::Damaged, "a place of an unlinked file refers to content that cannot be");
    return check_object(table, place.object(),
                        place.type() == S_IFDIR ? image::ContentObject::DIRECTORY : image::ContentObject::UNLINKED);
  }
  check_identity(place.file());
  open_place(description);
}

Opener PathOnlyKind::opener(const Description& description) const { return opener_of(description.path_only().file()); }

FileDescriptor PathOnlyKind::open(TableRestore& table, const Description& description) {
  const image::PathOnly& place = description.path_only();
  if (place.has_object()) return reopen(table.object(place.object()), description.status_flags());
  return open_place(description);
}

}  // namespace crs::engine
