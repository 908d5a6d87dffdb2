// Files that no path reaches any more (unlinked files, O_TMPFILE, memfds, removed directories), shared by descriptors,
// memory areas and what processes work in.
//
// Checkpoint: whoever meets such an inode first, the descriptor table or the address space, has its content copied into
// the snapshot and gets an index in image::Descriptors::objects; everybody after that gets the same index. An index
// once given stays valid.
//
// Restart: restore_descriptors_inside() makes all of them in the newborn and leaves each open for reading and writing
// (close-on-exec) at content_object_descriptor(first_private_descriptor, index), with its content and size, without its
// seals. There a shared (or private) mapping takes it, by mmap called remotely with that number. activate_descriptors()
// seals the memfds and closes these numbers: so mappings are made before it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/file_descriptor.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/descriptors.pb.h"

namespace crs::engine {

// How many numbers from first_private_descriptor on are left to others (the newborn's channel and the like).
inline constexpr int kOtherPrivateDescriptors = 64;

// The number at which the newborn holds object `index` until activate_descriptors().
constexpr int content_object_descriptor(int first_private_descriptor, std::uint32_t index) {
  return first_private_descriptor + kOtherPrivateDescriptors + static_cast<int>(index);
}

// One shared memory area that maps a file.
struct MappedPiece {
  RemoteAddress start;  // start and end of the area exactly as /proc/PID/maps has them
  RemoteAddress end;
  std::uint64_t file_offset;          // bytes
  bool guarded = false;               // it has guard pages
  std::uint64_t huge_page_bytes = 0;  // of pages that were set aside (hugetlbfs); 0: usual pages
};

// The capturing side, one for the whole tree; not thread-safe.
class ContentObjects {
 public:
  // `image` receives the objects. All must outlive this.
  ContentObjects(ContentStore& store, image::Descriptors& image) : store_(store), image_(image) {}

  // The object of this inode if it has been kept already.
  std::optional<std::uint32_t> find(dev_t device, ino_t inode) const;

  // Keeps what `descriptor` (this process's own) is open on. `shown_path` is what /proc/PID/fd or maps show,
  // " (deleted)" included. Throws if the content cannot be read or written to the snapshot.
  std::uint32_t keep(CaptureContext& context, int descriptor, std::string_view shown_path);

  // Keeps the file behind memory areas: all shared areas of the process that map this inode (device and inode as
  // /proc/PID/maps has them). The content comes from an open descriptor of the process, else from /proc/PID/map_files
  // (needs CAP_CHECKPOINT_RESTORE), else from the mapped memory itself; then what no area maps is not known and comes
  // back as a hole. `area` is one of them. Adds to context.refusals and returns nothing where the file cannot be kept
  // (secret memory, huge pages that would have to be read from the memory itself, and more of a file than the process
  // showed from whose memory it was read).
  std::optional<std::uint32_t> keep_mapped(CaptureContext& context, dev_t device, ino_t inode,
                                           std::string_view shown_path, std::span<const MappedPiece> pieces,
                                           const MappedPiece& area);

  // For a private area of such a file: the object if all of the file's content is within reach, through a descriptor of
  // the process or one of `pieces`, its shared areas, or if these show all that `area` maps; else, or where its content
  // cannot be kept, nothing.
  std::optional<std::uint32_t> keep_whole(CaptureContext& context, dev_t device, ino_t inode,
                                          std::string_view shown_path, std::span<const MappedPiece> pieces,
                                          const MappedPiece& area);

  // Keeps a directory that was removed. `link`, in /proc, leads to it.
  std::uint32_t keep_directory(CaptureContext& context, const std::string& link, const struct stat& status,
                               std::string_view shown_path);

  // Keeps the file that the process executes, which no path leads to. Nothing where this user may not read it.
  std::optional<std::uint32_t> keep_executable(CaptureContext& context);

 private:
  bool is_known_to_be_in(std::uint32_t object, const MappedPiece& area) const;
  std::uint32_t keep_opened(CaptureContext& context, const FileDescriptor& file, dev_t device, ino_t inode);
  std::uint32_t add(const struct stat& status, std::string_view shown_path);
  // One that was read from memory, whose file can be opened after all.
  std::uint32_t begin_anew(std::uint32_t index, const struct stat& status, std::string_view shown_path);
  std::uint32_t keep_from_memory(const CaptureContext& context, dev_t device, ino_t inode,
                                 const std::string& shown_path, std::span<const MappedPiece> pieces);

  ContentStore& store_;
  image::Descriptors& image_;
  std::map<std::pair<dev_t, ino_t>, std::uint32_t> known_;
  // Of these is known what these areas show.
  std::map<std::uint32_t, std::vector<MappedPiece>> read_from_memory_;
};

// Whether the content of this open file can be kept at all: a regular file, and neither secret memory nor a dma-buf.
// Gives the reason if not.
std::optional<std::string> content_cannot_be_kept(int descriptor, std::string_view shown_path);

// Whether this user may read the content of this open file: by opening it again, or through the description itself. A
// program may have what its user may not open: it was handed down, or the file was made without permissions.
bool content_can_be_read(int descriptor);

// Whether it is a directory that was removed, and not one that another mount covers.
bool is_removed_directory(const struct stat& status, std::string_view shown_path);

// "/memfd:" starts what /proc shows for a memfd.
bool is_memfd_path(std::string_view shown_path);

}  // namespace crs::engine
