// The index of a data file of extents as bytes: a frame (magic, version, length, checksum) around a protobuf message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace crs {

inline constexpr std::uint64_t kExtentAlignment = 4096;
// No extent's payload is larger: it bounds what a reader allocates for one.
inline constexpr std::uint64_t kMaximumExtentPayload = std::uint64_t{16} << 20;

enum class ExtentEncoding { Raw, Zstd };

struct Extent {
  std::uint64_t source = 0;         // the earlier snapshot in whose data file it lies; 0: in the index's own
  std::uint64_t offset = 0;         // in the data file, a multiple of kExtentAlignment
  std::uint64_t stored_bytes = 0;   // without padding
  std::uint64_t payload_bytes = 0;  // 1 .. kMaximumExtentPayload
  ExtentEncoding encoding = ExtentEncoding::Raw;
  Hash128 checksum;  // of the stored bytes with padding
  std::string tag;

  std::uint64_t padded_bytes() const {
    return (stored_bytes + kExtentAlignment - 1) / kExtentAlignment * kExtentAlignment;
  }
};

// Those of source 0 must tile the data file and come first, the others be in order of source and offset.
std::string encode_extent_index(const std::vector<Extent>& extents);

// Checks everything: frame, checksum, that every extent is well formed, that those of source 0 tile a data file of
// `data_bytes` bytes exactly, and that no others overlap; whether these lie within their files is for check_within().
// Throws an Error of kind Damaged that names `name` (the index file).
std::vector<Extent> decode_extent_index(std::string_view bytes, std::uint64_t data_bytes, std::string_view name);

// Throws Damaged if an extent of source `source` reaches beyond `bytes`, the size of that data file.
void check_within(const std::vector<Extent>& extents, std::uint64_t source, std::uint64_t bytes, std::string_view name);

// The frame alone: for decode_extent_index, and for tests that forge a body.
std::string frame_extent_index(std::string_view body);

}  // namespace crs
