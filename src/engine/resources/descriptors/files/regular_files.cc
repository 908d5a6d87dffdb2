#include "engine/resources/descriptors/files/regular_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/files/identity.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/descriptors/files/permissions.h"

namespace crs::engine {
namespace {

constexpr std::string_view kMissing =
    "Put the file back where it was; a snapshot refers to the files a program has open";
constexpr std::string_view kDirectory = "Put the file back as it was; a directory is in its place";
constexpr std::string_view kForbidden = "Give yourself the right to open it again (chmod), or restart as root";

struct stat status_of(const FileDescriptor& file, const std::string& path) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path);
  return status;
}

// Of /proc/PID/mem it is an address, which may lie in the kernel's half, but not where lseek(2) returns errors.
bool can_be_offset(off_t offset, const image::FileIdentity& file) {
  constexpr off_t kLastError = -4095;
  return offset >= 0 || (offset < kLastError && file.path() == "/proc/self/mem");
}

// Whoever appends, or stands at the end, only makes a file longer, and that is undone. What was written over is not.
bool may_be_changed_inside(const image::OpenDescription& description, const struct stat& now) {
  const image::RegularFile& file = description.regular_file();
  const auto flags = static_cast<int>(description.status_flags());
  if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_APPEND) != 0) return false;
  const image::FileIdentity& then = file.file();
  const bool touched = then.modified_seconds() != now.st_mtim.tv_sec ||
                       static_cast<long>(then.modified_nanoseconds()) != now.st_mtim.tv_nsec;
  return touched && !then.generated() && file.position() < then.size();
}

FileDescriptor open_file_again(const image::OpenDescription& description, const std::string& place) {
  try {
    return open_again(place, description.status_flags());
  } catch (Error& error) {
    const int problem = error.error_number();
    if (problem == ENOENT || problem == ENOTDIR) error.advise(std::string(kMissing));
    if (problem == EISDIR) error.advise(std::string(kDirectory));
    if (problem == EACCES || problem == EPERM) error.advise(std::string(kForbidden));
    if (problem == EROFS) error.advise("Mount its file system for writing again");
    throw error.add_context("the program had it open at the checkpoint");
  }
}

// What is written to a file after the checkpoint is kept aside and cut off at a restart: that takes more than writing.
void note_if_it_cannot_be_cut(TableCapture& table, const Seen& seen) {
  if ((seen.flags & O_ACCMODE) == O_RDONLY || is_generated(seen.copy.get())) return;
  const auto warn = [&](std::string_view obstacle, std::string_view advice) {
    table.context.warnings.push_back(
        fmt::format("{} is {}, {}: if it grows after the checkpoint, a restart will not be able to cut it back; {}",
                    table.name_of(seen), seen.link, obstacle, advice));
  };
  struct statx status{};
  const bool appends = ::statx(seen.copy.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) == 0 &&
                       (status.stx_attributes & STATX_ATTR_APPEND) != 0;
  if (appends) return warn("which may only be appended to", "before a restart, chattr -a");
  if (::faccessat(AT_FDCWD, seen.link.c_str(), R_OK, AT_EACCESS) != 0 && errno == EACCES)
    warn("which may not be read", "before a restart, chmod u+r");
}

}  // namespace

bool RegularFileKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  return S_ISREG(seen.status.st_mode) && reach_of(seen) == Reach::ByPath && !is_stream_out_of_reach(seen);
}

void RegularFileKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  if (!look_at_permissions(table, seen)) {
    table.context.refusals.add(
        fmt::format("{} is {}, whose permissions would not let a restart open it again as it is open now",
                    table.name_of(seen), seen.link),
        seen.numbers.empty() ? "chmod u+rw it, or let the program receive it before the checkpoint"
                             : fmt::format("chmod u+rw it, or {}", leave_out_advice(seen.first())));
  }
  note_if_it_cannot_be_cut(table, seen);
  image::RegularFile& file = *description.mutable_regular_file();
  identify(table, seen, *file.mutable_file());
  file.set_position(seen.position);
}

bool RegularFileKind::is_written(const image::Descriptors& image, const std::string& path) {
  if (!written_) {
    written_.emplace();
    for (const Description& description : image.descriptions()) {
      if (!description.has_regular_file() || (description.status_flags() & O_ACCMODE) == O_RDONLY) continue;
      written_->insert(description.regular_file().file().path());
    }
  }
  return written_->contains(path);
}

void RegularFileKind::check(TableCheck& table, const Description& description) {
  const image::FileIdentity& file = description.regular_file().file();
  check_identity(file);
  if (!can_be_offset(static_cast<off_t>(description.regular_file().position()), file)) {
    fail(ErrorKind::Damaged, "the snapshot gives {} an offset that cannot be", file.path());
  }
  const KeptFiles* const kept = table.context.kept_files;
  if (kept != nullptr && kept->keeps(file.path())) return;
  const FileDescriptor opened = open_file_again(description, file.path());
  if (!compares(kept, file.path())) return;
  const struct stat now = status_of(opened, file.path());
  compare_file(file, now, is_written(table.image, file.path()), table.context.options, &table.context.notes);
  if (may_be_changed_inside(description, now)) note_written_since(table.context.notes, file.path(), file.size());
}

Opener RegularFileKind::opener(const Description& description) const {
  return opener_of(description.regular_file().file());
}

FileDescriptor RegularFileKind::open(TableRestore& table, const Description& description) {
  const image::FileIdentity& file = description.regular_file().file();
  FileDescriptor opened = open_file_again(description, place_of(table.context.kept_files, file.path()));
  if (compares(table.context.kept_files, file.path())) {
    compare_file(file, status_of(opened, file.path()), is_written(table.image, file.path()), table.context.options,
                 nullptr);
  }
  const auto position = static_cast<off_t>(description.regular_file().position());
  if (position != 0 && ::lseek(opened.get(), position, SEEK_SET) != position) {
    fail_errno(errno, "cannot go to offset {} of {}", position, file.path());
  }
  return opened;
}

}  // namespace crs::engine
