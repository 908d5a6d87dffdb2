#include "engine/resources/descriptors/unix_sockets/unix_diag.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/resources/descriptors/sockets/diag_query.h"

namespace crs::engine {
namespace {

constexpr int kShutdownAttribute = 6;  // UNIX_DIAG_SHUTDOWN

template <typename T>
T value_of(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(sizeof value, bytes.size()));
  return value;
}

UnixNode node_of(const unix_diag_vfs& told) { return {told.udiag_vfs_dev, told.udiag_vfs_ino}; }

void take_attribute(unsigned type, std::span<const std::byte> bytes, UnixDiag& socket) {
  switch (type) {
    case UNIX_DIAG_NAME:
      socket.address.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      break;
    case UNIX_DIAG_VFS:
      socket.node = node_of(value_of<unix_diag_vfs>(bytes));
      break;
    case UNIX_DIAG_PEER:
      socket.peer = value_of<std::uint32_t>(bytes);
      break;
    case UNIX_DIAG_ICONS:
      socket.pending.resize(bytes.size() / sizeof(std::uint32_t));
      std::ranges::copy(bytes.first(socket.pending.size() * sizeof(std::uint32_t)),
                        std::as_writable_bytes(std::span(socket.pending)).begin());
      break;
    case UNIX_DIAG_RQLEN:
      socket.unread = value_of<unix_diag_rqlen>(bytes).udiag_rqueue;
      socket.limit = value_of<unix_diag_rqlen>(bytes).udiag_wqueue;
      break;
    case kShutdownAttribute:
      socket.shut_down = value_of<std::uint8_t>(bytes);
      break;
    default:
      break;
  }
}

}  // namespace

UnixDiags look_at_unix_sockets() {
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0U;
  request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  UnixDiags sockets;
  ask_sock_diag(std::as_bytes(std::span(&request, 1)), "unix sockets", [&](std::span<const std::byte> payload) {
    const auto header = value_of<unix_diag_msg>(payload);
    UnixDiag& socket = sockets[header.udiag_ino];
    socket.inode = header.udiag_ino;
    socket.type = header.udiag_type;
    socket.listens = header.udiag_state == TCP_LISTEN;
    for_each_attribute(payload, sizeof header,
                       [&](unsigned type, std::span<const std::byte> bytes) { take_attribute(type, bytes, socket); });
  });
  return sockets;
}

bool is_bound_by_somebody(const std::string& path) {
  struct stat there{};
  if (::lstat(path.c_str(), &there) != 0) return false;
  const auto inode = static_cast<std::uint32_t>(there.st_ino);
  return std::ranges::any_of(look_at_unix_sockets(), [&](const auto& entry) {
    const std::optional<UnixNode>& node = entry.second.node;
    return node && node->inode == inode && stands_at(*node, path);
  });
}

}  // namespace crs::engine
