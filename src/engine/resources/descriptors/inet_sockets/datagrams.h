// What waits to be read at a UDP socket.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/resources/descriptors/inet_sockets/inet_address.h"

namespace crs::engine {

struct Datagram {
  std::string data;
  InetAddress sender;
};

// Looks at all of them with MSG_PEEK, oldest first. Throws.
std::vector<Datagram> look_at_datagrams(int socket, std::string_view name);

}  // namespace crs::engine
