// What must hold for every input of the manifest reader: it is refused as damaged, or read and written back without
// loss.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "crs/error.hpp"
#include "store/manifest.h"

namespace crs {

// Ends the process if `bytes` as a whole manifest file breaks the rule.
inline void check_manifest_file(std::string_view bytes) {
  try {
    const store::Manifest manifest = decode_manifest(bytes, "manifest");
    const store::Manifest again = decode_manifest(encode_manifest(manifest), "manifest");
    if (again.SerializeAsString() != manifest.SerializeAsString()) std::abort();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Damaged) std::abort();
  }
}

// The input as a file, and, since no fuzzer finds a checksum, as the payload below a right one.
inline void exercise_manifest_reader(std::string_view input) {
  check_manifest_file(input);
  check_manifest_file(wrap_manifest_payload(input, kFormatVersion));
}

}  // namespace crs
