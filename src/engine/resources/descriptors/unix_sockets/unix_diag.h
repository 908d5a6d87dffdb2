// What the kernel says of all unix sockets of this network namespace (sock_diag(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/resources/descriptors/unix_sockets/node.h"

namespace crs::engine {

struct UnixDiag {
  std::uint32_t inode = 0;
  int type = 0;
  bool listens = false;
  std::string address;                 // sun_path; empty for none
  std::optional<std::uint32_t> peer;   // 0: closed, or a connection that has not been accepted yet
  std::optional<UnixNode> node;        // of the path that it is bound to
  std::vector<std::uint32_t> pending;  // of one that listens: the inodes of those that wait; 0 for one that has closed
  std::uint32_t unread = 0;            // bytes; of one that listens: the connections that wait
  std::uint32_t limit = 0;             // of one that listens: its backlog
  std::uint32_t shut_down = 0;
};

using UnixDiags = std::unordered_map<std::uint32_t, UnixDiag>;

// Throws where the kernel does not tell.
UnixDiags look_at_unix_sockets();

// Whether a living socket in this network namespace is bound to the node that stands at this path.
bool is_bound_by_somebody(const std::string& path);

}  // namespace crs::engine
