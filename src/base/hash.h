// XXH3-128, the checksum of everything in a snapshot: of pages, of files and of the manifest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace crs {

// The canonical (big-endian) bytes of an XXH3-128 value.
struct Hash128 {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const Hash128&, const Hash128&) = default;

  std::string to_hex() const;
  // For a protobuf `bytes` field.
  std::string to_bytes() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  // Throws an Error of kind Damaged unless `text` has exactly 16 bytes.
  static Hash128 from_bytes(std::string_view text);
};

Hash128 hash128(std::span<const std::byte> bytes);

// The same of a stream of pieces.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(StreamHash&&) noexcept;
  StreamHash& operator=(StreamHash&&) noexcept;

  void update(std::span<const std::byte> bytes);
  Hash128 digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of a file's first `bytes` bytes from its start (pread; the file offset does not move).
Hash128 hash_file(int descriptor, std::string_view name, std::uint64_t bytes);

}  // namespace crs
