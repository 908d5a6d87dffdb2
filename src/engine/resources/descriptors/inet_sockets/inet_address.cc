#include "engine/resources/descriptors/inet_sockets/inet_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::array<std::uint8_t, 12> kVersion4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

template <typename Ask>
std::string asked(Ask ask, int socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (ask(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return {reinterpret_cast<const char*>(&storage), size};
}

}  // namespace

bool InetPlace::is_version_4() const { return std::equal(kVersion4.begin(), kVersion4.end(), address.begin()); }

bool InetPlace::is_any() const {
  const auto start = is_version_4() ? address.begin() + kVersion4.size() : address.begin();
  return std::all_of(start, address.end(), [](std::uint8_t byte) { return byte == 0; });
}

InetAddress::InetAddress(std::string_view bytes) {
  if (bytes.size() < sizeof(sa_family_t) || bytes.size() > sizeof storage_) return;
  std::memcpy(&storage_, bytes.data(), bytes.size());
  const bool possible = (storage_.ss_family == AF_INET && bytes.size() == sizeof(sockaddr_in)) ||
                        (storage_.ss_family == AF_INET6 && bytes.size() == sizeof(sockaddr_in6));
  if (possible) size_ = static_cast<socklen_t>(bytes.size());
}

InetAddress InetAddress::local_of(int socket) {
  const InetAddress address(asked(::getsockname, socket));
  return address.empty() || address.place().port == 0 ? InetAddress() : address;
}

InetAddress InetAddress::remote_of(int socket) { return InetAddress(asked(::getpeername, socket)); }

InetAddress InetAddress::loopback(int family) {
  InetAddress address;
  address.storage_.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address.storage_).sin6_addr = in6addr_loopback;
  } else {
    reinterpret_cast<sockaddr_in&>(address.storage_).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  address.size_ = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  return address;
}

InetAddress InetAddress::of_kernel(int family, std::span<const std::uint32_t, 4> address, std::uint16_t port) {
  InetAddress made = loopback(family);
  if (family == AF_INET6)
    std::memcpy(&reinterpret_cast<sockaddr_in6&>(made.storage_).sin6_addr, address.data(), address.size_bytes());
  else
    reinterpret_cast<sockaddr_in&>(made.storage_).sin_addr.s_addr = address.front();
  return made.with_port(ntohs(port));
}

InetPlace InetAddress::place() const {
  InetPlace place;
  if (storage_.ss_family == AF_INET6) {
    const auto& inet = reinterpret_cast<const sockaddr_in6&>(storage_);
    std::memcpy(place.address.data(), &inet.sin6_addr, place.address.size());
    place.port = ntohs(inet.sin6_port);
  } else {
    const auto& inet = reinterpret_cast<const sockaddr_in&>(storage_);
    std::ranges::copy(kVersion4, place.address.begin());
    std::memcpy(place.address.data() + kVersion4.size(), &inet.sin_addr, sizeof inet.sin_addr);
    place.port = ntohs(inet.sin_port);
  }
  return place;
}

std::string InetAddress::words() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (empty()) return "no address";
  if (storage_.ss_family == AF_INET6) {
    const auto& inet = reinterpret_cast<const sockaddr_in6&>(storage_);
    ::inet_ntop(AF_INET6, &inet.sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(inet.sin6_port));
  }
  const auto& inet = reinterpret_cast<const sockaddr_in&>(storage_);
  ::inet_ntop(AF_INET, &inet.sin_addr, text.data(), text.size());
  return fmt::format("{}:{}", text.data(), ntohs(inet.sin_port));
}

InetAddress InetAddress::reachable() const {
  if (empty() || !place().is_any()) return *this;
  return loopback(storage_.ss_family).with_port(place().port);
}

InetAddress InetAddress::reachable_from(const InetPlace& sender, int family) const {
  const InetPlace own = place();
  if (empty() || !sender.is_version_4() || (!own.is_any() && !own.is_version_4())) return reachable();
  const InetPlace to = own.is_any() ? loopback(AF_INET).place() : own;
  InetAddress made = loopback(family);
  if (family == AF_INET6) {
    std::memcpy(&reinterpret_cast<sockaddr_in6&>(made.storage_).sin6_addr, to.address.data(), to.address.size());
  } else {
    std::memcpy(&reinterpret_cast<sockaddr_in&>(made.storage_).sin_addr, to.address.data() + kVersion4.size(),
                sizeof(in_addr));
  }
  return made.with_port(own.port);
}

InetAddress InetAddress::with_port(std::uint16_t port) const {
  InetAddress address = *this;
  // The port lies at the same place in both.
  reinterpret_cast<sockaddr_in&>(address.storage_).sin_port = htons(port);
  return address;
}

}  // namespace crs::engine
