// Internet addresses with ports, as sockaddr_in and sockaddr_in6.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace crs::engine {

// A place on the network, whichever family names it: IPv4 addresses as IPv6 has them (::ffff:1.2.3.4).
struct InetPlace {
  std::array<std::uint8_t, 16> address{};
  std::uint16_t port = 0;
  auto operator<=>(const InetPlace&) const = default;
  bool is_any() const;  // of either family
  bool is_version_4() const;
};

class InetAddress {
 public:
  InetAddress() = default;
  // The bytes of a sockaddr_in or sockaddr_in6; anything else is an empty address.
  explicit InetAddress(std::string_view bytes);
  static InetAddress local_of(int socket);   // empty where it is not bound
  static InetAddress remote_of(int socket);  // empty where it is not connected
  static InetAddress loopback(int family);
  // As sock_diag(7) gives them: four words of address, of which IPv4 uses the first; all in the network's byte order.
  static InetAddress of_kernel(int family, std::span<const std::uint32_t, 4> address, std::uint16_t port);

  bool empty() const { return size_ == 0; }
  std::string bytes() const { return {reinterpret_cast<const char*>(&storage_), size_}; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  InetPlace place() const;
  std::string words() const;  // "127.0.0.1:80"
  // The same port on this machine, for what is bound to all its addresses.
  InetAddress reachable() const;
  // The same for a socket of `family` (AF_INET, AF_INET6) at `sender`: IPv4 addresses reach each other alone, whichever
  // family names them.
  InetAddress reachable_from(const InetPlace& sender, int family) const;
  InetAddress with_port(std::uint16_t port) const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace crs::engine
