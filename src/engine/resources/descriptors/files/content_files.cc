#include "engine/resources/descriptors/files/content_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/files/identity.h"

namespace crs::engine {

bool ContentFileKind::recognises(const TableCapture& table, const Seen& seen) {
  if (!S_ISREG(seen.status.st_mode) || seen.is_path_only() || reach_of(seen) != Reach::Gone) return false;
  static_cast<void>(table);
  return !content_cannot_be_kept(seen.copy.get(), seen.link);
}

void ContentFileKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::ContentFile& file = *description.mutable_content_file();
  file.set_object(table.context.objects.keep(seen.copy.get(), seen.link));
  file.set_position(seen.position);
  if (seen.status.st_nlink > 0) {
    table.context.warnings.push_back(fmt::format(
        "{} is open on {}: the file has another name still, but comes back as a file of its own without that name",
        table.name_of(seen), seen.link));
  }
}

void ContentFileKind::check(TableCheck& table, const Description& description) {
  const image::ContentFile& file = description.content_file();
  if (file.object() >= static_cast<std::uint32_t>(table.image.objects_size()) ||
      static_cast<off_t>(file.position()) < 0) {
    fail(ErrorKind::Damaged, "an unlinked file's description refers to content that the snapshot does not have");
  }
}

FileDescriptor ContentFileKind::open(TableRestore& table, const Description& description) {
  const image::ContentFile& file = description.content_file();
  FileDescriptor opened;
  if (made_its_file(description)) opened = std::move(table.makers[file.object()]);
  if (!opened) opened = reopen(table.object(file.object()), description.status_flags());
  const auto position = static_cast<off_t>(file.position());
  if (position != 0 && ::lseek(opened.get(), position, SEEK_SET) != position) {
    fail_errno(errno, "cannot go to offset {} of an unlinked file", position);
  }
  return opened;
}

}  // namespace crs::engine
