#include "store/manifest.h"

#include <array>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"
#include "store/reference.h"

namespace crs {
namespace {

constexpr std::array<char, 8> kManifestMagic = {'\x89', 'C', 'R', 'S', 'M', '\r', '\n', '\x1a'};
constexpr std::size_t kVersionOffset = kManifestMagic.size();
constexpr std::size_t kLengthOffset = kVersionOffset + sizeof(std::uint32_t);
constexpr std::size_t kChecksumOffset = kLengthOffset + sizeof(std::uint64_t);
constexpr std::size_t kPayloadOffset = kChecksumOffset + sizeof(Hash128);
static_assert(kPayloadOffset == 36);

void append_number(std::string& bytes, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

std::uint64_t number_at(std::string_view bytes, std::size_t offset, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes[offset + i])} << (8 * i);
  }
  return value;
}

Hash128 checksum_of(std::string_view head, std::string_view payload) {
  StreamHash hash;
  hash.update(as_byte_span(head));
  hash.update(as_byte_span(payload));
  return hash.digest();
}

// Collects the faults of one manifest into Errors that name its path.
class Checker {
 public:
  explicit Checker(std::string_view path) : path_(path) {}

  template <typename... Args>
  void require(bool good, fmt::format_string<Args...> format, Args&&... args) const {
    if (!good)
      fail(ErrorKind::Damaged, "the manifest {} is damaged: {}", path_,
           fmt::format(format, std::forward<Args>(args)...));
  }

  std::string_view path() const { return path_; }

 private:
  std::string_view path_;
};

// Checks the envelope and gives the payload.
std::string_view unwrap(std::string_view bytes, const Checker& checker) {
  checker.require(bytes.size() >= kPayloadOffset, "it has {} bytes, fewer than the {} of an empty one", bytes.size(),
                  kPayloadOffset);
  checker.require(bytes.starts_with(std::string_view(kManifestMagic.data(), kManifestMagic.size())),
                  "it does not begin as a manifest does");
  const std::uint64_t length = number_at(bytes, kLengthOffset, sizeof(std::uint64_t));
  const std::uint64_t present = bytes.size() - kPayloadOffset;
  checker.require(length <= present, "it ends early, {} bytes are missing", length - present);
  checker.require(length == present, "{} bytes follow its end", present - length);
  const std::string_view payload = bytes.substr(kPayloadOffset);
  const Hash128 stored = Hash128::from_bytes(bytes.substr(kChecksumOffset, sizeof(Hash128)));
  checker.require(checksum_of(bytes.substr(0, kChecksumOffset), payload) == stored,
                  "its checksum does not match its content");
  return payload;
}

// The checksum is known to match, so a foreign version is what the writer meant.
void check_version(std::uint64_t version, const Checker& checker) {
  checker.require(version != 0, "its format version is 0");
  if (version <= kFormatVersion) return;
  throw Error(ErrorKind::Damaged,
              fmt::format("the manifest {} has format version {}, and this CRS reads versions up to {}", checker.path(),
                          version, kFormatVersion))
      .advise("The snapshot was made by a newer CRS: update this one");
}

using FilesByName = std::map<std::string_view, const store::FileRecord*>;

FilesByName check_names(const store::Manifest& manifest, const Checker& checker) {
  FilesByName files;
  for (const store::FileRecord& file : manifest.files()) {
    checker.require(is_snapshot_file_name(file.name()) && file.name() != kManifestName,
                    "it lists a file with the impossible name '{}'", file.name());
    checker.require(files.emplace(file.name(), &file).second, "it lists the file {} twice", file.name());
  }
  return files;
}

void check_files(const store::Manifest& manifest, const Checker& checker) {
  const FilesByName files = check_names(manifest, checker);
  std::uint64_t total = 0;
  for (const auto& [name, file] : files) {
    checker.require(file->size() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - total,
                    "the sizes of its files are impossible");
    total += file->size();
    if (file->verified_by().empty()) {
      checker.require(file->checksum().size() == sizeof(Hash128), "it has no checksum of the file {}", name);
      continue;
    }
    const auto other = files.find(file->verified_by());
    checker.require(file->checksum().empty() && other != files.end() && other->second->verified_by().empty(),
                    "it does not tell how the file {} is verified", name);
  }
  checker.require(total == manifest.stored_bytes(), "the sizes of its files add up to {} bytes and not to {}", total,
                  manifest.stored_bytes());
  checker.require(manifest.shared_bytes() <= total, "it shares {} bytes and has {}", manifest.shared_bytes(), total);
}

bool is_job_name(std::string_view name) {
  try {
    check_job_name(name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void check_content(const store::Manifest& manifest, std::uint64_t version, const Checker& checker) {
  checker.require(manifest.format_version() == version, "it gives two format versions");
  checker.require(is_job_name(manifest.job()), "it names no job");
  checker.require(manifest.sequence() != 0, "it has no sequence number");
  checker.require(!manifest.has_parent_sequence() || manifest.parent_sequence() < manifest.sequence(),
                  "its parent {} is not older than itself", manifest.parent_sequence());
  for (const std::uint64_t sequence : manifest.same_as_sequences())
    checker.require(sequence != 0 && sequence < manifest.sequence(), "it is the same as {}, which is not older",
                    sequence);
  checker.require(!manifest.component().name().empty(), "it names no component");
  for (const store::RangeRecord& range : manifest.excluded())
    checker.require(range.start() < range.end(), "it leaves out an impossible range of memory");
  check_files(manifest, checker);
}

bool is_name_part(std::string_view part) { return !part.empty() && part != "." && part != ".."; }

}  // namespace

bool is_snapshot_file_name(std::string_view name) {
  constexpr std::size_t kLongest = 4095;  // PATH_MAX without the final NUL
  if (name.size() > kLongest || name.find('\0') != std::string_view::npos) return false;
  while (true) {
    const std::size_t end = name.find('/');
    if (!is_name_part(name.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    name.remove_prefix(end + 1);
  }
}

std::string wrap_manifest_payload(std::string_view payload, std::uint32_t version) {
  std::string bytes(kManifestMagic.data(), kManifestMagic.size());
  append_number(bytes, version, sizeof(std::uint32_t));
  append_number(bytes, payload.size(), sizeof(std::uint64_t));
  bytes += checksum_of(bytes, payload).to_bytes();
  bytes += payload;
  return bytes;
}

std::string encode_manifest(const store::Manifest& manifest) {
  const std::string bytes = wrap_manifest_payload(manifest.SerializeAsString(), manifest.format_version());
  try {
    // Nothing may be committed that a restart would refuse to read.
    decode_manifest(bytes, kManifestName);
  } catch (const Error& error) {
    fail(ErrorKind::Failed, "the snapshot's manifest would not be readable: {}", error.what());
  }
  return bytes;
}

store::Manifest decode_manifest(std::string_view bytes, std::string_view path) {
  const Checker checker(path);
  checker.require(bytes.size() <= kLongestManifest, "it has {} bytes, more than the {} of the longest one",
                  bytes.size(), kLongestManifest);
  const std::string_view payload = unwrap(bytes, checker);
  const std::uint64_t version = number_at(bytes, kVersionOffset, sizeof(std::uint32_t));
  check_version(version, checker);
  store::Manifest manifest;
  checker.require(manifest.ParseFromArray(payload.data(), static_cast<int>(payload.size())),
                  "its content cannot be parsed");
  check_content(manifest, version, checker);
  return manifest;
}

}  // namespace crs
