#include "store/snapshot_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"
#include "store/directory_tree.h"
#include "store/extents/extent_file.h"

namespace crs {
namespace {

FileDescriptor open_location(const std::string& location) {
  FileDescriptor directory(::open(location.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) return directory;
  if (errno == ENOENT || errno == ENOTDIR) {
    throw Error(ErrorKind::NotFound, fmt::format("there is no snapshot at {}", location))
        .advise("'crs list' shows the snapshots there are");
  }
  fail_errno(errno, "cannot open the snapshot {}", location);
}

store::Manifest read_manifest(int directory, const std::string& location) {
  const std::string name(kManifestName);
  const FileDescriptor file = open_file_beneath(directory, name, location);
  const std::string path = location + "/" + name;
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path);
  if (status.st_size > static_cast<off_t>(kLongestManifest)) {
    fail(ErrorKind::Damaged, "the manifest {} is damaged: it has {} bytes, more than the {} of the longest one", path,
         status.st_size, kLongestManifest);
  }
  return decode_manifest(crs::read_file(file.get(), path, kLongestManifest), path);
}

[[noreturn]] void fail_checksum(const std::string& location, const std::string& name) {
  fail(ErrorKind::Damaged, "{}/{} is damaged: its checksum does not match its content", location, name);
}

// Runs `check`; what it throws is added to `damage`.
template <typename Check>
void collect(std::vector<Error>& damage, const Check& check) {
  try {
    check();
  } catch (const Error& error) {
    damage.push_back(error);
  }
}

}  // namespace

SnapshotReader::SnapshotReader(std::string location)
    : location_(std::move(location)),
      directory_(open_location(location_)),
      manifest_(read_manifest(directory_.get(), location_)) {}

const store::FileRecord& SnapshotReader::record_of(std::string_view name) const {
  const auto found = std::ranges::find(manifest_.files(), name, &store::FileRecord::name);
  if (found == manifest_.files().end()) fail(ErrorKind::Damaged, "the snapshot {} has no file {}", location_, name);
  return *found;
}

FileDescriptor SnapshotReader::open_record(const store::FileRecord& record) const {
  FileDescriptor file = open_file_beneath(directory_.get(), record.name(), location_);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}/{}", location_, record.name());
  if (static_cast<std::uint64_t>(status.st_size) != record.size()) {
    fail(ErrorKind::Damaged, "{}/{} is damaged: it has {} bytes instead of {}", location_, record.name(),
         status.st_size, record.size());
  }
  return file;
}

std::optional<Error> SnapshotReader::missing() const {
  try {
    for (const store::FileRecord& record : manifest_.files()) static_cast<void>(open_record(record));
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

FileDescriptor SnapshotReader::open(std::string_view name) const { return open_record(record_of(name)); }

std::string SnapshotReader::read_verified(std::string_view name, std::size_t limit) const {
  const store::FileRecord& record = record_of(name);
  const std::string path = location_ + "/" + record.name();
  if (!record.verified_by().empty())
    fail(ErrorKind::Failed, "{} is verified through {}, not as a whole", path, record.verified_by());
  const FileDescriptor file = open_record(record);
  std::string content = crs::read_file(file.get(), path, limit);
  if (content.size() != record.size() || hash128(as_byte_span(content)) != Hash128::from_bytes(record.checksum())) {
    fail_checksum(location_, record.name());
  }
  return content;
}

void SnapshotReader::verify_file(const store::FileRecord& record) const {
  const FileDescriptor file = open_record(record);
  if (!record.verified_by().empty()) return;
  const Hash128 expected = Hash128::from_bytes(record.checksum());
  if (hash_file(file.get(), location_ + "/" + record.name(), record.size()) != expected)
    fail_checksum(location_, record.name());
}

void SnapshotReader::verify_parts(const store::FileRecord& record) const {
  verify_file(record);
  if (record.verified_by().empty()) return;
  const std::optional<std::string> base = base_of_earlier_data(record.name());
  if (record.verified_by() != base.value_or(record.name()) + ".index") {
    fail(ErrorKind::Damaged, "{}/{} is verified in an unknown way, by {}", location_, record.name(),
         record.verified_by());
  }
  if (!base) verify_extents(location_, record.name());  // with what of earlier data files belongs to it
}

std::vector<Error> SnapshotReader::find_unexpected() const {
  std::set<std::string_view> expected = {kManifestName};
  for (const store::FileRecord& record : manifest_.files()) expected.insert(record.name());
  std::vector<Error> damage;
  for (const TreeEntry& entry : list_tree(directory_.get(), location_)) {
    if (!expected.contains(entry.name)) {
      damage.emplace_back(ErrorKind::Damaged, fmt::format("{}/{} is not part of the snapshot", location_, entry.name));
    }
  }
  return damage;
}

void SnapshotReader::verify_before_restart() const {
  for (const store::FileRecord& record : manifest_.files()) verify_file(record);
  const std::vector<Error> unexpected = find_unexpected();
  if (!unexpected.empty()) throw unexpected.front();
}

std::vector<Error> SnapshotReader::find_damage() const {
  std::vector<Error> damage;
  for (const store::FileRecord& record : manifest_.files()) collect(damage, [&] { verify_parts(record); });
  collect(damage, [&] { std::ranges::move(find_unexpected(), std::back_inserter(damage)); });
  return damage;
}

std::string read_verified_file(const std::string& location, std::string_view name) {
  return SnapshotReader(location).read_verified(name);
}

void verify_files_before_restart(const std::string& location) { SnapshotReader(location).verify_before_restart(); }

void verify_snapshot(const std::string& location) {
  std::vector<Error> damage = SnapshotReader(location).find_damage();
  if (damage.empty()) return;
  if (damage.size() > 1) damage.front().add_context(fmt::format("and {} more faults", damage.size() - 1));
  throw damage.front();
}

}  // namespace crs
