// What must hold for every input of the reader of a page data file's index: it is refused as damaged, or its extents
// tile the file.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "crs/error.hpp"
#include "store/extents/extent_index.h"

namespace crs {

// Ends the process if `bytes` as the index of a data file of `data_bytes` bytes breaks the rule.
inline void check_extent_index(std::string_view bytes, std::uint64_t data_bytes) {
  try {
    const std::vector<Extent> extents = decode_extent_index(bytes, data_bytes, "pages.index");
    std::uint64_t end = 0;
    for (const Extent& extent : extents) {
      if (extent.offset != end || extent.payload_bytes == 0 || extent.payload_bytes > kMaximumExtentPayload)
        std::abort();
      end += extent.padded_bytes();
    }
    if (end != data_bytes ||
        decode_extent_index(encode_extent_index(extents), data_bytes, "pages.index").size() != extents.size()) {
      std::abort();
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Damaged) std::abort();
  }
}

// The first two bytes are the length of the data file in units of 4096 bytes; the rest is the index, and also its body.
inline void exercise_extent_index_reader(std::string_view input) {
  if (input.size() < 2) return;
  const std::uint64_t blocks = static_cast<unsigned char>(input[0]) + 256U * static_cast<unsigned char>(input[1]);
  input.remove_prefix(2);
  check_extent_index(input, blocks * kExtentAlignment);
  check_extent_index(frame_extent_index(input), blocks * kExtentAlignment);
}

}  // namespace crs
