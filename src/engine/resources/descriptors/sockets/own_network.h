// Which sockets belong to the network namespace of this process (network_namespaces(7)): a program may have others,
// made before it changed to another namespace, or received from one.
#pragma once

#include <cstdint>
#include <optional>

namespace crs::engine {

class OwnNetwork {
 public:
  // Whether a socket belongs to it. True where the kernel does not say: before Linux 5.14 without CAP_NET_ADMIN over
  // the socket's namespace.
  bool has(int socket);

 private:
  std::optional<std::uint64_t> cookie_;  // 0: the kernel has none
};

}  // namespace crs::engine
