// By which numbers the newborn holds the files that are to be mapped.
#pragma once

#include <cstdint>

#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

// Of Memory.files[file], opened for reading only (every file), and for writing as well (those with `writable`).
int readable_file_number(int first_number, std::uint32_t file);
int writable_file_number(const image::Memory& image, int first_number, std::uint32_t file);
// Of content object `object`, opened for reading only: such a mapping can never be made writable, and does not keep the
// object from being sealed.
int read_only_content_number(const image::Memory& image, int first_number, std::uint32_t object);

}  // namespace crs::engine
