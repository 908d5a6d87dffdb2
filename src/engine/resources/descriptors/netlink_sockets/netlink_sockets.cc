#include "engine/resources/descriptors/netlink_sockets/netlink_sockets.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "engine/resources/descriptors/sockets/settings.h"
#include "engine/resources/descriptors/sockets/sockets.h"

namespace crs::engine {
namespace {

constexpr std::uint32_t kMostGroups = 4096;
constexpr int kLastProtocol = NETLINK_SMC;

// Questions and announcements without a state in the kernel that would be lost.
constexpr std::array kKept{NETLINK_ROUTE, NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC, NETLINK_SOCK_DIAG};

std::vector<std::uint32_t> groups_of(int socket) {
  std::array<std::uint32_t, kMostGroups / 32> bits{};
  socklen_t size = sizeof bits;
  std::vector<std::uint32_t> groups;
  if (::getsockopt(socket, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, bits.data(), &size) != 0) return groups;
  for (std::uint32_t group = 0; group < kMostGroups; ++group) {
    if ((bits.at(group / 32) & (1U << (group % 32))) != 0) groups.push_back(group + 1);
  }
  return groups;
}

}  // namespace

bool NetlinkSocketKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  if (!S_ISSOCK(seen.status.st_mode) || seen.is_path_only()) return false;
  const std::optional<SocketKind> kind = socket_kind_of(seen.copy.get());
  return kind && kind->family == AF_NETLINK && std::ranges::find(kKept, kind->protocol) != kKept.end() &&
         network_.has(seen.copy.get());
}

void NetlinkSocketKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  const SocketKind kind = *socket_kind_of(seen.copy.get());
  const int number = seen.copy.get();
  pollfd entry{number, POLLIN, 0};
  if (::poll(&entry, 1, 0) != 0) table.refuse(seen, "a netlink socket with messages that have not been read");
  image::NetlinkSocket& socket = *description.mutable_netlink_socket();
  socket.set_protocol(static_cast<std::uint32_t>(kind.protocol));
  socket.set_raw(kind.type == SOCK_RAW ? 1 : 0);
  sockaddr_nl own{};
  socklen_t size = sizeof own;
  if (::getsockname(number, reinterpret_cast<sockaddr*>(&own), &size) != 0)
    fail_errno(errno, "cannot ask {}, a netlink socket, for its address", table.name_of(seen));
  socket.set_port(own.nl_pid);
  for (const std::uint32_t group : groups_of(number)) socket.add_groups(group);
  capture_settings(table, seen, *socket.mutable_settings());
}

void NetlinkSocketKind::check(TableCheck& /*table*/, const Description& description) {
  const image::NetlinkSocket& socket = description.netlink_socket();
  const bool possible = socket.protocol() <= static_cast<unsigned>(kLastProtocol) &&
                        static_cast<std::uint32_t>(socket.groups_size()) <= kMostGroups;
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a netlink socket that cannot be");
  check_settings(socket.settings());
}

FileDescriptor NetlinkSocketKind::open(TableRestore& table, const Description& description) {
  const image::NetlinkSocket& socket = description.netlink_socket();
  const int type = socket.raw() != 0 ? SOCK_RAW : SOCK_DGRAM;
  FileDescriptor made(::socket(AF_NETLINK, type | SOCK_CLOEXEC, static_cast<int>(socket.protocol())));
  if (!made) fail_errno(errno, "cannot make a netlink socket of protocol {}", socket.protocol());
  if (socket.port() != 0) {
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_pid = socket.port();
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(made.get(), generic, sizeof address) != 0) {
      address.nl_pid = 0;
      if (::bind(made.get(), generic, sizeof address) != 0) fail_errno(errno, "cannot bind a netlink socket");
      table.context.notes.push_back(fmt::format("a netlink socket has another port id than {}", socket.port()));
    }
  }
  for (const std::uint32_t group : socket.groups()) {
    const int wanted = static_cast<int>(group);
    if (::setsockopt(made.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &wanted, sizeof wanted) != 0)
      table.context.notes.push_back(fmt::format("a netlink socket is not a member of group {} any more", group));
  }
  for (const SettingStage stage : {SettingStage::BeforeBinding, SettingStage::Finally})
    apply_settings(made.get(), socket.settings(), stage, "a netlink socket", table.context.notes);
  return made;
}

}  // namespace crs::engine
