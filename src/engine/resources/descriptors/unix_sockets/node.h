// The node of the file system to which a unix socket is bound, as the kernel tells it (sock_diag(7)).
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/file_descriptor.h"

namespace crs::engine {

struct UnixNode {
  std::uint32_t device = 0;  // of the file system itself, as the kernel has it: 12 bits major, 20 bits minor
  std::uint32_t inode = 0;   // the lower 32 bits

  auto operator<=>(const UnixNode&) const = default;
};

// O_PATH: the node that a socket is bound to, wherever it is. Nothing for who may not ask that (CAP_NET_ADMIN), or if
// it is bound to none.
FileDescriptor open_node_of(int socket);

// Whether that node is the socket that stands at this path, as far as can be told.
bool stands_at(const UnixNode& node, const std::string& path);

}  // namespace crs::engine
