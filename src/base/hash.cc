#include "base/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/io.h"

namespace crs {
namespace {

Hash128 canonical(XXH128_hash_t value) {
  XXH128_canonical_t canonical_bytes;
  XXH128_canonicalFromHash(&canonical_bytes, value);
  Hash128 result;
  std::ranges::copy(canonical_bytes.digest, result.bytes.begin());
  return result;
}

}  // namespace

struct StreamHash::State {
  XXH3_state_t* xxh = XXH3_createState();
  State() { XXH3_128bits_reset(xxh); }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

std::string Hash128::to_hex() const {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

Hash128 Hash128::from_bytes(std::string_view text) {
  Hash128 result;
  if (text.size() != result.bytes.size())
    fail(ErrorKind::Damaged, "a checksum has {} bytes instead of 16", text.size());
  std::ranges::copy(text, result.bytes.begin());
  return result;
}

Hash128 hash128(std::span<const std::byte> bytes) { return canonical(XXH3_128bits(bytes.data(), bytes.size())); }

StreamHash::StreamHash() : state_(std::make_unique<State>()) {}
StreamHash::~StreamHash() = default;
StreamHash::StreamHash(StreamHash&&) noexcept = default;
StreamHash& StreamHash::operator=(StreamHash&&) noexcept = default;

void StreamHash::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

Hash128 StreamHash::digest() const { return canonical(XXH3_128bits_digest(state_->xxh)); }

Hash128 hash_file(int descriptor, std::string_view name, std::uint64_t bytes) {
  StreamHash hash;
  std::vector<std::byte> piece(std::min<std::uint64_t>(bytes, 1 << 20));
  for (std::uint64_t offset = 0; offset < bytes;) {
    const std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - offset));
    pread_exact(descriptor, name, std::span(piece).first(length), offset);
    hash.update(std::span(piece).first(length));
    offset += length;
  }
  return hash.digest();
}

}  // namespace crs
