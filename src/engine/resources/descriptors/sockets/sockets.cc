#include "engine/resources/descriptors/sockets/sockets.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/resources/descriptors/left_out/left_out.h"
#include "engine/resources/descriptors/sockets/dead_socket.h"

namespace crs::engine {
namespace {

std::optional<int> option_of(int descriptor, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(descriptor, SOL_SOCKET, name, &value, &size) != 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<SocketKind> socket_kind_of(int descriptor) {
  const std::optional<int> family = option_of(descriptor, SO_DOMAIN);
  const std::optional<int> type = option_of(descriptor, SO_TYPE);
  if (!family || !type) return std::nullopt;
  return SocketKind{*family, *type, option_of(descriptor, SO_PROTOCOL).value_or(0)};
}

bool DeadSocketKind::recognises(const TableCapture& table, const Seen& seen) {
  return S_ISSOCK(seen.status.st_mode) && !seen.is_path_only() && table.is_expendable(seen);
}

void DeadSocketKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  const std::optional<SocketKind> kind = socket_kind_of(seen.copy.get());
  if (!kind) return table.refuse(seen, "a socket that does not say what it is");
  image::DeadSocket& socket = *description.mutable_dead_socket();
  socket.set_family(static_cast<std::uint32_t>(kind->family));
  socket.set_type(static_cast<std::uint32_t>(kind->type));
  socket.set_protocol(static_cast<std::uint32_t>(kind->protocol));
}

void DeadSocketKind::check(TableCheck& /*table*/, const Description& description) {
  constexpr std::uint32_t kLargestProtocol = 0xffff;
  const image::DeadSocket& socket = description.dead_socket();
  // Its flags are in the same argument of socket(2).
  const bool possible = socket.family() != AF_UNSPEC && socket.family() < AF_MAX && socket.type() >= SOCK_STREAM &&
                        socket.type() <= SOCK_PACKET && socket.protocol() <= kLargestProtocol;
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a socket that cannot be");
}

FileDescriptor DeadSocketKind::open(TableRestore& table, const Description& description) {
  const image::DeadSocket& socket = description.dead_socket();
  try {
    return make_dead_socket(
        {static_cast<int>(socket.family()), static_cast<int>(socket.type()), static_cast<int>(socket.protocol())});
  } catch (const Error& error) {
    // Raw sockets and the like need privileges. The number stays taken all the same.
    table.context.notes.push_back(
        fmt::format("an expendable socket comes back as a descriptor on which everything fails: {}", error.what()));
    return open_left_out();
  }
}

}  // namespace crs::engine
