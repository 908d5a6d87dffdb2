// What waits to be read, or to be sent, at a UDP socket.
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

// Whether data is there that waits for more before it is sent (MSG_MORE of send(2), UDP_CORK of udp(7)), which nobody
// can read. What a network device has not sent yet is given a moment. The program is stopped.
bool has_data_waiting_for_more(int socket);

}  // namespace crs::engine
