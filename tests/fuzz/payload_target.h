// What must hold for every extent whose checksum is right, as a forger's is: its payload is refused as damaged, or has
// the length that the index gives.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "store/extents/extent_file.h"

namespace crs {

inline FileDescriptor memory_file(std::string_view bytes) {
  FileDescriptor file(::memfd_create("fuzz", MFD_CLOEXEC));
  if (!file) std::abort();
  write_all(file.get(), "fuzz", as_byte_span(bytes));
  return file;
}

// Ends the process if the only extent, stored as `stored`, breaks the rule.
inline void check_payload(std::string_view stored, std::uint64_t payload_bytes, ExtentEncoding encoding) {
  Extent extent;
  extent.stored_bytes = stored.size();
  extent.payload_bytes = payload_bytes;
  extent.encoding = encoding;
  std::string data(stored);
  data.resize(extent.padded_bytes(), '\0');
  extent.checksum = hash128(as_byte_span(data));
  try {
    const ExtentReader reader(memory_file(data), memory_file(encode_extent_index({extent})), "pages");
    std::vector<std::byte> payload(payload_bytes);
    reader.verify(0);
    reader.read(0, payload);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Damaged) std::abort();
  }
}

// The first two bytes are the payload's length less one, the rest is what is stored.
inline void exercise_payload_reader(std::string_view input) {
  if (input.size() < 3) return;
  const std::uint64_t bytes = 1U + static_cast<unsigned char>(input[0]) + 256U * static_cast<unsigned char>(input[1]);
  input.remove_prefix(2);
  check_payload(input, bytes, ExtentEncoding::Zstd);
  check_payload(input, bytes, ExtentEncoding::Raw);
  check_payload(input, input.size(), ExtentEncoding::Raw);
}

}  // namespace crs
