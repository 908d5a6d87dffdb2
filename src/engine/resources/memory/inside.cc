// What the newborn does itself: it opens the files that are then mapped from outside.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/mapping_descriptors.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {
namespace {

using image::Area;

void move_to(FileDescriptor file, int number) {
  if (::fcntl(number, F_GETFD) >= 0) fail(ErrorKind::Failed, "descriptor {} is taken", number);
  if (::dup3(file.get(), number, O_CLOEXEC) < 0) {
    throw Error::from_errno(fmt::format("cannot open descriptor {} for the program's mapped files", number), errno)
        .advise("Raise the limit of open files (ulimit -n)");
  }
}

}  // namespace

// First every file for reading, then the places of those for writing, then the content objects.

int readable_file_number(int first_number, std::uint32_t file) { return first_number + static_cast<int>(file); }

int writable_file_number(const image::Memory& image, int first_number, std::uint32_t file) {
  return first_number + image.files_size() + static_cast<int>(file);
}

int read_only_content_number(const image::Memory& image, int first_number, std::uint32_t object) {
  return first_number + 2 * image.files_size() + static_cast<int>(object);
}

int memory_descriptors_needed(const image::Memory& image) {
  int count = 2 * image.files_size();
  for (const Area& area : image.areas()) {
    if (area.kind() != Area::SHARED_CONTENT || !has_property(area, Area::NEVER_WRITABLE)) continue;
    count = std::max(count, 2 * image.files_size() + static_cast<int>(area.backing()) + 1);
  }
  return count;
}

void restore_memory_inside(NewbornContext& context, const image::Memory& image, int first_number) {
  for (int i = 0; i < image.files_size(); ++i) {
    const image::MappedFile& file = image.files(i);
    const auto number = static_cast<std::uint32_t>(i);
    const std::string place = place_of(context.kept_files, file.path());
    move_to(open_file(place, O_RDONLY | O_NOCTTY | O_NONBLOCK), readable_file_number(first_number, number));
    if (!file.writable()) continue;
    move_to(open_file(place, O_RDWR | O_NOCTTY | O_NONBLOCK), writable_file_number(image, first_number, number));
  }
  for (const Area& area : image.areas()) {
    if (area.kind() != Area::SHARED_CONTENT || !has_property(area, Area::NEVER_WRITABLE)) continue;
    const int number = read_only_content_number(image, first_number, area.backing());
    if (::fcntl(number, F_GETFD) >= 0) continue;
    const int writable = content_object_descriptor(context.first_private_descriptor, area.backing());
    move_to(open_file(fmt::format("/proc/self/fd/{}", writable), O_RDONLY), number);
  }
}

}  // namespace crs::engine
