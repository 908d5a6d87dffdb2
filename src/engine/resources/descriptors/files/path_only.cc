#include "engine/resources/descriptors/files/path_only.h"

#include <fcntl.h>

#include <cerrno>

#include "base/error.h"
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

}  // namespace

bool PathOnlyKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  return seen.is_path_only() && reach_of(seen) == Reach::ByPath;
}

void PathOnlyKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::PathOnly& place = *description.mutable_path_only();
  identify(table, seen, *place.mutable_file());
  place.set_type(seen.status.st_mode & S_IFMT);
}

void PathOnlyKind::check(TableCheck& /*table*/, const Description& description) {
  check_identity(description.path_only().file());
  open_place(description);
}

FileDescriptor PathOnlyKind::open(TableRestore& /*table*/, const Description& description) {
  return open_place(description);
}

}  // namespace crs::engine
