// The manifest: what a snapshot is, and the size and checksum of every file of it.
//
// On disk, all numbers little-endian:
//   offset  0   8 bytes  magic: 89 'C' 'R' 'S' 'M' 0D 0A 1A
//           8   4 bytes  format version, from 1
//          12   8 bytes  length of the payload in bytes
//          20  16 bytes  XXH3-128 (canonical, big-endian) of the 20 bytes before it and of the payload
//          36            the payload, a serialised crs.store.Manifest; nothing follows it
// This envelope stays the same in every format version, so that a reader can tell a newer snapshot from a damaged one.
//
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "store/manifest.pb.h"

namespace crs {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::string_view kManifestName = "manifest";
// The longest manifest that is read, in bytes. A snapshot has a file for each piece of content, not for each page, so
// this is ample.
inline constexpr std::size_t kLongestManifest = std::size_t{64} << 20;

// The bytes of a manifest file. Throws an Error of kind Failed if `manifest` is not one that decode_manifest() would
// take.
std::string encode_manifest(const store::Manifest& manifest);

// Reads what encode_manifest() wrote. `path` is for messages. Throws an Error of kind Damaged that names what is wrong
// for anything else; a newer format version is told apart and comes with the advice to update.
store::Manifest decode_manifest(std::string_view bytes, std::string_view path);

// Puts the envelope around any payload. For tests that need a wrong one below a right checksum.
std::string wrap_manifest_payload(std::string_view payload, std::uint32_t version);

// Whether `name` can be a file's name in a manifest: relative, without empty, "." or ".." parts, without NUL, at most
// 4095 bytes.
bool is_snapshot_file_name(std::string_view name);

}  // namespace crs
