// What waits to be read at a unix socket: looked at without taking it, and put into another socket's queue again.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/unix_sockets/unix_sockets.pb.h"

namespace crs::engine {

// A datagram, or a stretch of a stream.
struct QueuedMessage {
  std::string data;
  std::vector<FileDescriptor> descriptors;  // of this process: what goes with it
  std::string sender;                       // sun_path of the socket that sent the datagram
  std::optional<ucred> credentials;         // as this process sees the ids
};

// Looks at all of them with MSG_PEEK. Where there is more than one, the socket's SO_PEEK_OFF is borrowed meanwhile.
// Throws.
std::vector<QueuedMessage> look_at_queue(int socket, int type, std::string_view name);

// sun_path as it is compared and recorded: a path ends before its zero byte.
std::string sun_path_of(const sockaddr_un& address, socklen_t size);

struct UnixAddress {
  explicit UnixAddress(std::string_view sun_path);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
  sockaddr_un bytes{};
  socklen_t size = sizeof bytes;
};

// Sends `message` from `sender`, to `receiver` unless that is empty (then to what the sender is connected to).
// `descriptors` go with it. Nothing waits: throws where the other side has no room. Returns false if the message's
// credentials could not be given to it.
bool send_again(int sender, const image::UnixMessage& message, std::span<const int> descriptors,
                std::string_view receiver);

}  // namespace crs::engine
