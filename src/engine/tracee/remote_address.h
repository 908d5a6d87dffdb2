// An address in another process: a type of its own, so that it is never dereferenced by mistake.
#pragma once

#include <compare>
#include <cstdint>

namespace crs::engine {

struct RemoteAddress {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(const RemoteAddress&, const RemoteAddress&) = default;
  friend constexpr RemoteAddress operator+(RemoteAddress address, std::uint64_t bytes) {
    return {address.value + bytes};
  }
  friend constexpr RemoteAddress operator-(RemoteAddress address, std::uint64_t bytes) {
    return {address.value - bytes};
  }
  // Distance in bytes; `end` must not lie below `start`.
  friend constexpr std::uint64_t operator-(RemoteAddress end, RemoteAddress start) { return end.value - start.value; }
};

struct RemoteRange {
  RemoteAddress start;
  RemoteAddress end;  // exclusive

  constexpr std::uint64_t size() const { return end - start; }
  constexpr bool contains(RemoteAddress address) const { return start <= address && address < end; }
  constexpr bool overlaps(const RemoteRange& other) const { return start < other.end && other.start < end; }
};

inline constexpr std::uint64_t kPageSize = 4096;

}  // namespace crs::engine
