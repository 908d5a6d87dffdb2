// Copying file content with its holes kept.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "engine/resources/descriptors/content_objects.pb.h"

namespace crs::engine {

// What errors call the two files.
struct CopyNames {
  std::string_view from;
  std::string_view to;
};

// Copies `bytes` bytes between regular files, by reflink or inside the kernel where the file systems allow it. Both
// offsets are given; the descriptors' own offsets do not move. Throws; Damaged if the source ends early.
void copy_range(int from, std::uint64_t from_offset, int to, std::uint64_t to_offset, std::uint64_t bytes,
                const CopyNames& names);

// Calls `action`, which writes `what`. Where there is no room for that, says what the user can do.
void needing_room(std::string_view what, const std::function<void()>& action);

// Writes the data of `from` (size bytes) without its holes to the start of `to` and records the extents in `object`.
// Returns the bytes written.
std::uint64_t pack_content(int from, std::uint64_t size, int to, image::ContentObject& object, std::string_view what);

// The same for an open description that others use, too: its offset stays where it is, so that holes cannot be asked
// for. Blocks that read as zero count as holes.
std::uint64_t pack_content_without_seeking(int from, std::uint64_t size, int to, image::ContentObject& object,
                                           std::string_view what);

// One more range of data, behind those that the object has.
void append_extent(image::ContentObject& object, std::uint64_t offset, std::uint64_t bytes);

// The inverse: puts the data where it belongs in `to` and gives `to` the object's size. `object` must have been
// checked.
void unpack_content(int from, int to, const image::ContentObject& object, std::string_view what);

// The same in a file that has other content, without cutting it before: others may have it mapped.
void write_over_content(int from, int to, const image::ContentObject& object, std::string_view what);

// Whether `file` holds exactly what was packed into `packed`.
bool holds_content(int file, int packed, const image::ContentObject& object, std::string_view what);

// Copies all of `from` to `to`, which is empty.
void copy_with_holes(int from, int to, std::string_view what);

}  // namespace crs::engine
