// A snapshot that may be changed in any way and is then written back with sizes and checksums that are right: what a
// forger would do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/image/process.pb.h"
#include "store/extents/extent_index.pb.h"
#include "store/manifest.pb.h"

namespace crs::test {

struct OpenedSnapshot {
  explicit OpenedSnapshot(const std::string& directory);
  OpenedSnapshot(const OpenedSnapshot&) = delete;
  OpenedSnapshot& operator=(const OpenedSnapshot&) = delete;
  void write_back() const;

  std::string location;
  store::Manifest manifest;
  image::Tree tree;
  image::Process& process;  // its root
  store::ExtentIndex pages;

  // What is written instead of the above.
  std::optional<std::uint32_t> version;      // of the manifest's envelope
  std::optional<std::string> process_bytes;  // of the file `process`
  std::optional<std::string> pages_bytes;    // of the index of pages
  std::optional<std::string> manifest_payload;
};

}  // namespace crs::test
