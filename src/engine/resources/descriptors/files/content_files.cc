#include "engine/resources/descriptors/files/content_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/files/identity.h"

namespace crs::engine {

const Seen* content_source(const TableCapture& table, const Seen& seen) {
  if (content_can_be_read(seen.copy.get())) return &seen;
  const auto found = std::ranges::find_if(table.seen, [&](const Seen& other) {
    return other.status.st_dev == seen.status.st_dev && other.status.st_ino == seen.status.st_ino &&
           content_can_be_read(other.copy.get());
  });
  return found == table.seen.end() ? nullptr : &*found;
}

bool ContentFileKind::recognises(const TableCapture& table, const Seen& seen) {
  if (!S_ISREG(seen.status.st_mode) || seen.is_path_only() || reach_of(seen) != Reach::Gone) return false;
  if (is_stream_out_of_reach(seen) && content_source(table, seen) == nullptr) return false;
  return !content_cannot_be_kept(seen.copy.get(), seen.link);
}

void ContentFileKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::ContentFile& file = *description.mutable_content_file();
  const Seen* const source = content_source(table, seen);
  if (source == nullptr) {
    return table.refuse(seen, fmt::format("{}, {} that is not open for reading and whose permissions do not let its "
                                          "content be read",
                                          seen.link, is_memfd_path(seen.link) ? "a memory file" : "an unlinked file"));
  }
  file.set_object(table.context.objects.keep(table.context, source->copy.get(), seen.link));
  file.set_position(seen.position);
  if (seen.status.st_nlink > 0) {
    table.context.warnings.push_back(fmt::format(
        "{} is open on {}: the file has another name still, but comes back as a file of its own without that name",
        table.name_of(seen), seen.link));
  }
}

void ContentFileKind::check(TableCheck& table, const Description& description) {
  const image::ContentFile& file = description.content_file();
  check_object(table, file.object(), image::ContentObject::UNLINKED);
  if (static_cast<off_t>(file.position()) < 0)
    fail(ErrorKind::Damaged, "an unlinked file has an offset that cannot be");
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
