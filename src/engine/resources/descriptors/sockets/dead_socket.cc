#include "engine/resources/descriptors/sockets/dead_socket.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace crs::engine {
namespace {

#ifndef IPPROTO_MPTCP
constexpr int IPPROTO_MPTCP = 262;
#endif

FileDescriptor make_socket(int family, int type, int protocol) {
  FileDescriptor made(::socket(family, type | SOCK_CLOEXEC, protocol));
  if (!made) fail_errno(errno, "cannot make a socket of address family {}", family);
  return made;
}

// A connection whose other end closes it with something unread is reset (unix_release_sock() in af_unix.c).
FileDescriptor make_reset_pair(int type) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno(errno, "cannot make a unix socket");
  FileDescriptor end(ends[0]);
  const FileDescriptor other(ends[1]);
  if (::send(end.get(), "", 1, MSG_NOSIGNAL) != 1) fail_errno(errno, "cannot make a dead unix socket");
  return end;
}

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = sizeof bytes;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&bytes); }
  bool operator==(const Address& other) const {
    return size == other.size && std::memcmp(&bytes, &other.bytes, size) == 0;
  }
};

Address loopback(int family) {
  Address address;
  if (family == AF_INET6) {
    auto& inet = reinterpret_cast<sockaddr_in6&>(address.bytes);
    inet.sin6_family = AF_INET6;
    inet.sin6_addr = in6addr_loopback;
    address.size = sizeof inet;
  } else {
    auto& inet = reinterpret_cast<sockaddr_in&>(address.bytes);
    inet.sin_family = AF_INET;
    inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.size = sizeof inet;
  }
  return address;
}

// Accepts until it is the connection from `client`: another process may have found the port.
FileDescriptor accept_from(int listener, int client) {
  Address wanted;
  if (::getsockname(client, wanted.get(), &wanted.size) != 0) return {};
  while (true) {
    Address peer;
    FileDescriptor accepted(::accept4(listener, peer.get(), &peer.size, SOCK_CLOEXEC));
    if (!accepted || peer == wanted) return accepted;
  }
}

// A close with a linger time of 0 resets the connection (tcp(7), socket(7)). False where there is no loopback.
bool reset_over_loopback(int client, int family) {
  constexpr int kBacklog = 16;
  constexpr timeval kPatience{5, 0};
  const FileDescriptor listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!listener) return false;
  Address address = loopback(family);
  for (const int one : {listener.get(), client}) {
    ::setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
    ::setsockopt(one, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  }
  const bool connected = ::bind(listener.get(), address.get(), address.size) == 0 &&
                         ::listen(listener.get(), kBacklog) == 0 &&
                         ::getsockname(listener.get(), address.get(), &address.size) == 0 &&
                         ::connect(client, address.get(), address.size) == 0;
  FileDescriptor accepted = connected ? accept_from(listener.get(), client) : FileDescriptor();
  constexpr timeval kNoLimit{0, 0};
  ::setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &kNoLimit, sizeof kNoLimit);
  ::setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &kNoLimit, sizeof kNoLimit);
  if (!accepted) return false;
  constexpr linger kAbort{1, 0};
  ::setsockopt(accepted.get(), SOL_SOCKET, SO_LINGER, &kAbort, sizeof kAbort);
  accepted.reset();
  pollfd reset{client, 0, 0};
  return ::poll(&reset, 1, 5000) == 1 && (reset.revents & POLLERR) != 0;
}

// Nothing arrives at it any more, and nobody waits for that.
void close_receiving(int socket) {
  sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{1, &nothing};
  ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  // Says ENOTCONN of what is not connected, and works all the same (inet_shutdown() in af_inet.c).
  if (::shutdown(socket, SHUT_RDWR) == 0 || errno == ENOTCONN) return;
  constexpr timeval kAtOnce{0, 1};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kAtOnce, sizeof kAtOnce);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kAtOnce, sizeof kAtOnce);
}

}  // namespace

FileDescriptor make_dead_socket(const SocketKind& kind) {
  const bool connects = kind.type == SOCK_STREAM || kind.type == SOCK_SEQPACKET;
  if (kind.family == AF_UNIX && connects) return make_reset_pair(kind.type);
  FileDescriptor made = make_socket(kind.family, kind.type, kind.protocol);
  const bool is_tcp = (kind.family == AF_INET || kind.family == AF_INET6) && kind.type == SOCK_STREAM &&
                      (kind.protocol == IPPROTO_TCP || kind.protocol == IPPROTO_MPTCP);
  if (is_tcp && reset_over_loopback(made.get(), kind.family)) return made;
  close_receiving(made.get());
  return made;
}

}  // namespace crs::engine
