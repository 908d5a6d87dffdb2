// Reading a committed snapshot from its location alone. Nothing in it is trusted: every file is checked against the
// manifest, and the manifest against its own checksum, before it is used.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "crs/error.hpp"
#include "store/manifest.h"

namespace crs {

// Keeps the snapshot's directory open, so that it reads one and the same snapshot even if that is renamed meanwhile.
// Const member functions may be called from several threads at once.
class SnapshotReader {
 public:
  // Reads and checks the manifest. Throws an Error of kind NotFound if there is no directory, of kind Damaged if it
  // holds no sound manifest.
  explicit SnapshotReader(std::string location);

  const std::string& location() const { return location_; }
  const store::Manifest& manifest() const { return manifest_; }

  // A file of the manifest, opened for reading; its kind and size are checked, its content is not.
  FileDescriptor open(std::string_view name) const;

  // The content of a file, after its checksum was checked. `limit` in bytes. Not for files that another one verifies.
  std::string read_verified(std::string_view name, std::size_t limit = std::size_t{1} << 30) const;

  // The first file of the manifest that is not there, is no file or has another size; nothing if there is none.
  std::optional<Error> missing() const;

  // Checks all but page data, which is verified while it is loaded: that every file is there and has its size, that
  // there is no unexpected one, and every checksum the manifest has. Throws an Error of kind Damaged.
  void verify_before_restart() const;

  // Everything that is wrong with the snapshot, page data included. Empty: it is sound.
  std::vector<Error> find_damage() const;

 private:
  const store::FileRecord& record_of(std::string_view name) const;
  FileDescriptor open_record(const store::FileRecord& record) const;
  void verify_file(const store::FileRecord& record) const;
  void verify_parts(const store::FileRecord& record) const;
  std::vector<Error> find_unexpected() const;

  std::string location_;
  FileDescriptor directory_;
  store::Manifest manifest_;
};

// The content of one file of the snapshot at `location`, checked.
std::string read_verified_file(const std::string& location, std::string_view name);

// All that can be checked before a restart without reading the page data. Throws an Error of kind Damaged.
void verify_files_before_restart(const std::string& location);

// Checks everything. Throws an Error of kind Damaged with the first fault and the number of the others.
void verify_snapshot(const std::string& location);

}  // namespace crs
