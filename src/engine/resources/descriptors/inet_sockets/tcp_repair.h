// A TCP connection as the kernel's repair mode shows and sets it (TCP_REPAIR; needs CAP_NET_ADMIN over the socket's
// network namespace). In that mode a socket sends nothing when it is closed, and its queues and sequence numbers can be
// read and, before it is connected, set.
#pragma once

#include <linux/filter.h>

#include <span>
#include <string>
#include <vector>

#include "engine/resources/descriptors/inet_sockets/inet_address.h"
#include "engine/resources/descriptors/inet_sockets/inet_sockets.pb.h"

namespace crs::engine {

// Throws where this process may not.
void begin_repair(int socket);
// Whoever leaves the mode finds SO_REUSEADDR off.
void end_repair_silently(int socket);
// The other side is asked to say where it is.
void end_repair_with_probe(int socket);

// The packet filter of a socket; empty: none.
std::vector<sock_filter> packet_filter_of(int socket);
void set_packet_filter(int socket, std::span<const sock_filter> filter);
// Every packet is dropped unseen, and its sender tries again.
void drop_all_packets(int socket);

// Of a socket in repair mode that is established, or has ended its own side. Both throw.
void read_connection(int socket, image::TcpConnection& connection, std::string& unread);
// Whether it still has that state.
bool has_state(int socket, const image::TcpConnection& connection, std::size_t unread_bytes);

// Makes `socket`, which is new and in repair mode, such a connection. Throws.
void make_connection(int socket, const InetAddress& local, const InetAddress& remote,
                     const image::TcpConnection& connection, std::string_view unread);

}  // namespace crs::engine
