#include "store/extents/extent_index.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/io.h"
#include "store/extents/extent_index.pb.h"

namespace crs {
namespace {

// The frame: magic (8 bytes), version (4, little-endian as every number here), zero (4), length of the body (8),
// XXH3-128 of these 24 bytes and the body (16), body.
constexpr std::string_view kMagic = "CRSXTNTS";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kChecked = 24;
constexpr std::size_t kHeader = kChecked + 16;

void append_number(std::string& bytes, std::uint64_t number, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(number >> (8 * i) & 0xff);
}

std::uint64_t number_at(std::string_view bytes, std::size_t offset, std::size_t width) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < width; ++i) {
    number |= std::uint64_t{static_cast<unsigned char>(bytes[offset + i])} << (8 * i);
  }
  return number;
}

Hash128 frame_checksum(std::string_view head, std::string_view body) {
  StreamHash hash;
  hash.update(as_byte_span(head));
  hash.update(as_byte_span(body));
  return hash.digest();
}

// The body of a frame whose every byte has been checked.
std::string_view unframe(std::string_view bytes, std::string_view name) {
  if (bytes.size() < kHeader)
    fail(ErrorKind::Damaged, "{} has {} bytes, too few for an index of extents", name, bytes.size());
  if (!bytes.starts_with(kMagic)) fail(ErrorKind::Damaged, "{} is no index of extents", name);
  const std::string_view body = bytes.substr(kHeader);
  if (number_at(bytes, 16, 8) != body.size()) {
    fail(ErrorKind::Damaged, "{} has {} bytes of entries instead of {}", name, body.size(), number_at(bytes, 16, 8));
  }
  if (frame_checksum(bytes.substr(0, kChecked), body) != Hash128::from_bytes(bytes.substr(kChecked, 16))) {
    fail(ErrorKind::Damaged, "{} fails its checksum", name);
  }
  if (number_at(bytes, 8, 4) != kVersion) {
    throw Error(ErrorKind::Damaged,
                fmt::format("{} has format version {}, this program reads {}", name, number_at(bytes, 8, 4), kVersion))
        .advise("Use the version of CRS that wrote the snapshot, or a newer one");
  }
  if (number_at(bytes, 12, 4) != 0) fail(ErrorKind::Damaged, "{} has an unknown frame", name);
  return body;
}

// One extent, as far as it can be judged by itself.
Extent checked_extent(const store::ExtentRecord& record) {
  Extent extent;
  extent.source = record.source();
  extent.offset = record.offset();
  extent.stored_bytes = record.stored_bytes();
  extent.payload_bytes = record.payload_bytes();
  extent.checksum = Hash128::from_bytes(record.checksum());
  extent.tag = record.tag();
  if (extent.payload_bytes == 0 || extent.payload_bytes > kMaximumExtentPayload) {
    fail(ErrorKind::Damaged, "it claims {} bytes of payload", extent.payload_bytes);
  }
  // A frame is kept only where it is smaller than the payload, so the payload bounds the stored bytes, too.
  const bool raw = record.encoding() == store::ExtentRecord::RAW;
  if (!raw && record.encoding() != store::ExtentRecord::ZSTD) fail(ErrorKind::Damaged, "it has an unknown encoding");
  extent.encoding = raw ? ExtentEncoding::Raw : ExtentEncoding::Zstd;
  const bool sensible = raw ? extent.stored_bytes == extent.payload_bytes
                            : extent.stored_bytes > 0 && extent.stored_bytes < extent.payload_bytes;
  if (!sensible)
    fail(ErrorKind::Damaged, "it claims {} stored bytes for {}", extent.stored_bytes, extent.payload_bytes);
  return extent;
}

// Where the next extent may begin, given the one before it.
class Places {
 public:
  explicit Places(std::uint64_t data_bytes) : data_bytes_(data_bytes) {}

  void check(const Extent& extent) {
    if (extent.source != source_) begin(extent);
    if (source_ == 0) {
      check_own(extent);
    } else if (extent.offset < position_ || extent.offset % kExtentAlignment != 0 || extent.offset > kHighestOffset) {
      fail(ErrorKind::Damaged, "it begins at {}, which cannot be", extent.offset);
    }
    position_ = extent.offset + extent.padded_bytes();
    if (source_ == 0) own_bytes_ = position_;
  }
  std::uint64_t own_bytes() const { return own_bytes_; }

 private:
  // So that sums of offsets and sizes cannot overflow; no file is larger.
  static constexpr std::uint64_t kHighestOffset = std::uint64_t{1} << 62;

  void begin(const Extent& extent) {
    if (extent.source < source_) fail(ErrorKind::Damaged, "it belongs before the extent in front of it");
    source_ = extent.source;
    position_ = 0;
  }
  void check_own(const Extent& extent) const {
    if (extent.offset != position_) fail(ErrorKind::Damaged, "it begins at {} instead of {}", extent.offset, position_);
    if (extent.padded_bytes() > data_bytes_ - position_)
      fail(ErrorKind::Damaged, "it reaches beyond the end of the data file");
  }

  std::uint64_t data_bytes_;
  std::uint64_t source_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t own_bytes_ = 0;
};

}  // namespace

std::string frame_extent_index(std::string_view body) {
  std::string bytes(kMagic);
  append_number(bytes, kVersion, 4);
  append_number(bytes, 0, 4);
  append_number(bytes, body.size(), 8);
  bytes += frame_checksum(bytes, body).to_bytes();
  bytes += body;
  return bytes;
}

std::string encode_extent_index(const std::vector<Extent>& extents) {
  store::ExtentIndex index;
  for (const Extent& extent : extents) {
    store::ExtentRecord& record = *index.add_extents();
    record.set_source(extent.source);
    record.set_offset(extent.offset);
    record.set_stored_bytes(extent.stored_bytes);
    record.set_payload_bytes(extent.payload_bytes);
    record.set_encoding(extent.encoding == ExtentEncoding::Raw ? store::ExtentRecord::RAW : store::ExtentRecord::ZSTD);
    record.set_checksum(extent.checksum.to_bytes());
    record.set_tag(extent.tag);
  }
  return frame_extent_index(index.SerializeAsString());
}

std::vector<Extent> decode_extent_index(std::string_view bytes, std::uint64_t data_bytes, std::string_view name) {
  const std::string_view body = unframe(bytes, name);
  store::ExtentIndex index;
  if (body.size() > std::size_t{1} << 30 || !index.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    fail(ErrorKind::Damaged, "{} holds entries that cannot be read", name);
  }
  std::vector<Extent> extents;
  extents.reserve(static_cast<std::size_t>(index.extents_size()));
  Places places(data_bytes);
  for (const store::ExtentRecord& record : index.extents()) {
    in_context(fmt::format("extent {} of {}", extents.size(), name), [&] {
      extents.push_back(checked_extent(record));
      places.check(extents.back());
    });
  }
  if (places.own_bytes() != data_bytes) {
    fail(ErrorKind::Damaged, "the extents of {} make up {} bytes, but the data file has {}", name, places.own_bytes(),
         data_bytes);
  }
  return extents;
}

void check_within(const std::vector<Extent>& extents, std::uint64_t source, std::uint64_t bytes,
                  std::string_view name) {
  for (const Extent& extent : extents) {
    if (extent.source == source && extent.offset + extent.padded_bytes() > bytes)
      fail(ErrorKind::Damaged, "{} has {} bytes, too few for its extent at {}", name, bytes, extent.offset);
  }
}

}  // namespace crs
