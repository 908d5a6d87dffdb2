#include "engine/resources/descriptors/inet_sockets/inet_sockets.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "engine/resources/descriptors/inet_sockets/datagrams.h"
#include "engine/resources/descriptors/inet_sockets/held_connections.h"
#include "engine/resources/descriptors/inet_sockets/low_ports.h"
#include "engine/resources/descriptors/refused.h"
#include "engine/resources/descriptors/sockets/settings.h"
#include "engine/resources/descriptors/sockets/sockets.h"
#include "engine/resources/descriptors/standard_streams/standard_streams.h"
#include "engine/resources/descriptors/unix_sockets/survey.h"

namespace crs::engine {
namespace {

#ifndef IPPROTO_MPTCP
constexpr int IPPROTO_MPTCP = 262;
#endif

// Unread data is part of the image itself.
constexpr std::size_t kMostUnread = std::size_t{64} << 20;

// The start of the kernel's structure, beyond what the C library has (linux/tcp.h).
struct TcpInfo {
  tcp_info start;
  std::uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
  std::uint32_t segments_out, segments_in, not_sent, min_rtt, data_segments_in, data_segments_out;
  std::uint64_t delivery_rate, busy_time, limited_by_receiver, limited_by_buffer;
  std::uint32_t delivered, delivered_ce;
  std::uint64_t bytes_sent, bytes_retransmitted;
};

TcpInfo info_of(int socket) {
  TcpInfo info{};
  socklen_t size = sizeof info;
  ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size);
  return info;
}

bool is_stream(const SocketKind& kind) {
  return kind.type == SOCK_STREAM && (kind.protocol == IPPROTO_TCP || kind.protocol == IPPROTO_MPTCP);
}

std::optional<SocketKind> inet_kind_of(const Seen& seen) {
  if (!S_ISSOCK(seen.status.st_mode) || seen.is_path_only()) return std::nullopt;
  const std::optional<SocketKind> kind = socket_kind_of(seen.copy.get());
  if (!kind || (kind->family != AF_INET && kind->family != AF_INET6)) return std::nullopt;
  const bool is_datagram = kind->type == SOCK_DGRAM && kind->protocol == IPPROTO_UDP;
  return is_stream(*kind) || is_datagram ? kind : std::nullopt;
}

short events_of(int socket) {
  pollfd entry{socket, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) == 1 ? entry.revents : short{0};
}

bool other_has_ended(int state) { return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING; }

bool has_ended_writing(int state) {
  return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_LAST_ACK || state == TCP_CLOSING;
}

// All that can be read. A look takes in the whole queue.
std::string look_at_stream(int socket, std::string_view name) {
  int bytes = 0;
  if (::ioctl(socket, SIOCINQ, &bytes) != 0 || bytes <= 0) return {};
  std::string data(static_cast<std::size_t>(bytes), '\0');
  const ssize_t got = ::recv(socket, data.data(), data.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) fail_errno(errno, "cannot look at the unread data of {}", name);
  data.resize(static_cast<std::size_t>(got));
  return data;
}

// Whether all that `from` has been given has arrived at `to`.
bool is_settled(int from, int to) {
  int not_sent = 0;
  if (::ioctl(from, SIOCOUTQNSD, &not_sent) == 0 && not_sent > 0) return false;
  const TcpInfo sent = info_of(from);
  return info_of(to).bytes_received >= sent.bytes_sent - sent.bytes_retransmitted;
}

bool has_urgent_data(int socket) {
  char byte = 0;
  return ::recv(socket, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool never_connected(int socket) {
  char byte = 0;
  return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == ENOTCONN;
}

void reset_later(TableCapture& table, const Seen& seen, image::InetSocket& socket) {
  socket.set_state(image::InetSocket::RESET);
  if (table.unix_sockets->has_unseen()) return;  // its other end may be there
  if (table.context.options.tcp == TcpPolicy::Refuse) return table.refuse(seen, describe_refused(seen));
  table.context.warnings.push_back(
      fmt::format("{} is {}: in a restarted program it has been reset by the other side (ECONNRESET)",
                  table.name_of(seen), describe_refused(seen)));
}

// Whether a restart gives the socket the address that it has. Connections that are held until then are not bound anew.
bool is_bound_again(const image::InetSocket& socket) {
  return !socket.local().empty() && socket.state() != image::InetSocket::RESET &&
         socket.state() != image::InetSocket::ENDED && socket.state() != image::InetSocket::KEPT;
}

void look_at_port(TableCapture& table, const Seen& seen, const image::InetSocket& socket) {
  if (!is_bound_again(socket)) return;
  const std::uint16_t port = InetAddress(socket.local()).place().port;
  if (may_bind(port)) return;
  table.lack(seen,
             fmt::format("{}, and this user may not bind port {} (net.ipv4.ip_unprivileged_port_start)",
                         describe_refused(seen), port),
             fmt::format("have CAP_NET_BIND_SERVICE for it, restart as root, or sysctl "
                         "net.ipv4.ip_unprivileged_port_start={}",
                         port));
}

}  // namespace

std::optional<SocketKind> InetSocketKind::kind_here(const Seen& seen) {
  const std::optional<SocketKind> kind = inet_kind_of(seen);
  return kind && network_.has(seen.copy.get()) ? kind : std::nullopt;
}

void InetSocketKind::survey(const TableCapture& table) {
  if (known_) return;
  known_.emplace();
  for (const Seen& seen : table.seen) {
    const std::optional<SocketKind> kind = kind_here(seen);
    if (!kind || !is_stream(*kind)) continue;
    const int number = seen.copy.get();
    const TcpInfo info = info_of(number);
    Known one{&seen, info.start.tcpi_state, InetAddress::local_of(number), InetAddress::remote_of(number), 0};
    if (one.state == TCP_LISTEN) one.waiting = info.start.tcpi_unacked;
    if (!one.local.empty() && !one.remote.empty())
      by_places_.emplace(std::pair(one.local.place(), one.remote.place()), known_->size());
    by_seen_.emplace(&seen, known_->size());
    known_->push_back(one);
  }
}

const InetSocketKind::Known* InetSocketKind::find(const Seen& seen) const {
  const auto found = by_seen_.find(&seen);
  return found == by_seen_.end() ? nullptr : &(*known_)[found->second];
}

const InetSocketKind::Known* InetSocketKind::other_end(const Known& one) const {
  if (one.local.empty() || one.remote.empty()) return nullptr;
  const auto found = by_places_.find({one.remote.place(), one.local.place()});
  return found == by_places_.end() ? nullptr : &(*known_)[found->second];
}

// The socket of the table that may have yet to accept this one's connection.
const InetSocketKind::Known* InetSocketKind::listener_with(const Known& client) const {
  if (client.state != TCP_ESTABLISHED || client.remote.empty()) return nullptr;
  const InetPlace wanted = client.remote.place();
  const auto found = std::ranges::find_if(*known_, [&](const Known& one) {
    if (one.state != TCP_LISTEN || one.waiting == 0 || one.local.empty()) return false;
    const InetPlace place = one.local.place();
    return place.port == wanted.port && (place.address == wanted.address || place.is_any());
  });
  return found == known_->end() ? nullptr : &*found;
}

bool InetSocketKind::leads_outside(const Known& one) const {
  if (one.state == TCP_LISTEN || one.state == TCP_CLOSE || other_has_ended(one.state)) return false;
  return other_end(one) == nullptr && listener_with(one) == nullptr;
}

bool InetSocketKind::recognises(const TableCapture& table, const Seen& seen) {
  const std::optional<SocketKind> kind = kind_here(seen);
  if (!kind) return false;
  survey(table);
  const bool is_stream_of_caller = standard_stream_of(table, seen).has_value();
  if (!is_stream(*kind)) return !is_stream_of_caller || InetAddress::remote_of(seen.copy.get()).empty();
  return !is_stream_of_caller || !leads_outside(*find(seen));
}

void InetSocketKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  const SocketKind kind = *inet_kind_of(seen);
  const int number = seen.copy.get();
  image::InetSocket& socket = *description.mutable_inet_socket();
  socket.set_id(seen.status.st_ino);
  socket.set_family(static_cast<std::uint32_t>(kind.family));
  socket.set_type(static_cast<std::uint32_t>(kind.type));
  socket.set_protocol(static_cast<std::uint32_t>(kind.protocol));
  socket.set_local(InetAddress::local_of(number).bytes());
  socket.set_remote(InetAddress::remote_of(number).bytes());
  capture_settings(table, seen, *socket.mutable_settings());
  if (is_stream(kind)) {
    capture_stream(table, *find(seen), socket);
  } else {
    capture_datagrams(table, seen, socket);
  }
  look_at_port(table, seen, socket);
}

void InetSocketKind::capture_datagrams(TableCapture& table, const Seen& seen, image::InetSocket& socket) {
  const int number = seen.copy.get();
  if (!socket.remote().empty()) socket.set_state(image::InetSocket::CONNECTED);
  if (has_data_waiting_for_more(number))
    table.refuse(seen, "a UDP socket with data that waits for more before it is sent (MSG_MORE, UDP_CORK)");
  // A look at empty datagrams is remembered by the kernel: who only looks at the program leaves them alone.
  if (!table.context.content.keeps()) return;
  std::size_t unread = 0;
  for (const Datagram& datagram : look_at_datagrams(number, table.name_of(seen))) {
    image::InetDatagram& kept = *socket.add_datagrams();
    kept.set_data(datagram.data);
    kept.set_sender(datagram.sender.bytes());
    unread += datagram.data.size();
  }
  if (unread > kMostUnread) table.refuse(seen, fmt::format("a UDP socket with {} unread bytes", unread));
}

void InetSocketKind::capture_stream(TableCapture& table, const Known& known, image::InetSocket& socket) {
  const int number = known.seen->copy.get();
  if (known.state == TCP_LISTEN) {
    socket.set_state(image::InetSocket::LISTENING);
    socket.set_backlog(info_of(number).start.tcpi_sacked);
    return;
  }
  if ((events_of(number) & POLLERR) != 0) return socket.set_state(image::InetSocket::RESET);
  if (known.state == TCP_CLOSE && never_connected(number)) return;
  if (has_urgent_data(number)) return table.refuse(*known.seen, "a TCP socket with unread urgent data");
  socket.set_unread(look_at_stream(number, table.name_of(*known.seen)));
  if (socket.unread().size() > kMostUnread)
    table.refuse(*known.seen, fmt::format("a TCP socket with {} unread bytes", socket.unread().size()));
  if (has_ended_writing(known.state) || known.state == TCP_CLOSE) socket.set_shut_down(2);
  if (known.state == TCP_CLOSE) return socket.set_state(image::InetSocket::ENDED);
  capture_connection(table, known, socket);
}

void InetSocketKind::capture_connection(TableCapture& table, const Known& known, image::InetSocket& socket) {
  const int number = known.seen->copy.get();
  const bool open = known.state == TCP_ESTABLISHED || known.state == TCP_FIN_WAIT1 || known.state == TCP_FIN_WAIT2;
  if (open && (events_of(number) & POLLRDHUP) != 0) socket.set_shut_down(socket.shut_down() | 1);
  if (const Known* const other = other_end(known); other != nullptr) {
    socket.set_state(image::InetSocket::CONNECTED);
    socket.set_peer(other->seen->status.st_ino);
    if (other == &known) return table.refuse(*known.seen, "a TCP socket that is connected to itself");
    if (is_settled(number, other->seen->copy.get())) return;
    return table.refuse(*known.seen, "a TCP connection with more data on its way than its receiver has room for");
  }
  if (const Known* const listener = listener_with(known); listener != nullptr) {
    socket.set_state(image::InetSocket::PENDING);
    socket.set_peer(listener->seen->status.st_ino);
    if (info_of(number).bytes_sent == 0) return;
    return table.refuse(*known.seen,
                        "a TCP connection that has not been accepted yet, with data on its way, which the kernel shows "
                        "to nobody before");
  }
  if (table.context.options.tcp == TcpPolicy::Keep) return keep_connection(table, known, socket);
  if (other_has_ended(known.state)) return socket.set_state(image::InetSocket::ENDED);
  reset_later(table, *known.seen, socket);
}

// A socket that repair mode makes is established; this side can then end what it writes, the other one's end cannot be
// had so.
void InetSocketKind::keep_connection(TableCapture& table, const Known& known, image::InetSocket& socket) {
  const bool is_plain = socket.protocol() == IPPROTO_TCP;
  const bool possible = known.state == TCP_ESTABLISHED || known.state == TCP_FIN_WAIT1 || known.state == TCP_FIN_WAIT2;
  if (table.context.connections == nullptr || !is_plain || !possible) {
    const std::string_view why = !is_plain                      ? "of the multipath kind (MPTCP)"
                                 : other_has_ended(known.state) ? "that the other side has ended"
                                                                : "that is still being made";
    return table.refuse(*known.seen, fmt::format("{}, {}, which cannot be kept", describe_refused(*known.seen), why));
  }
  watch_connections(table);
  table.context.connections->read(known.seen->copy.get(), socket);
  socket.set_state(image::InetSocket::KEPT);
  if (socket.unread().size() > kMostUnread || socket.connection().unacknowledged().size() > kMostUnread)
    table.refuse(*known.seen, fmt::format("a TCP socket with {} unread and {} unsent bytes", socket.unread().size(),
                                          socket.connection().unacknowledged().size()));
}

void InetSocketKind::watch_connections(TableCapture& table) {
  std::vector<int> sockets;
  for (const Known& one : *known_) {
    if (leads_outside(one) && !standard_stream_of(table, *one.seen)) sockets.push_back(one.seen->copy.get());
  }
  table.context.connections->watch(sockets);
}

void InetSocketKind::finish(TableCapture& table) {
  std::set<std::uint64_t> kept;
  for (const image::OpenDescription& description : table.image.descriptions()) {
    if (description.has_inet_socket()) kept.insert(description.inet_socket().id());
  }
  for (image::OpenDescription& description : *table.image.mutable_descriptions()) {
    if (!description.has_inet_socket()) continue;
    image::InetSocket& socket = *description.mutable_inet_socket();
    if (socket.peer() == 0 || kept.contains(socket.peer())) continue;
    socket.set_state(image::InetSocket::RESET);
    socket.clear_peer();
  }
}

namespace {

void check_relations(const image::Descriptors& image) {
  std::map<std::uint64_t, const image::InetSocket*> sockets;
  for (const image::OpenDescription& description : image.descriptions()) {
    if (!description.has_inet_socket()) continue;
    const image::InetSocket& socket = description.inet_socket();
    if (!sockets.emplace(socket.id(), &socket).second)
      fail(ErrorKind::Damaged, "the snapshot has two internet sockets with one id");
  }
  for (const auto& [id, socket] : sockets) {
    const auto found = sockets.find(socket->peer());
    const image::InetSocket* const peer = found == sockets.end() ? nullptr : found->second;
    const bool is_pair =
        peer != nullptr && peer != socket && peer->type() == SOCK_STREAM && socket->type() == SOCK_STREAM;
    bool possible = true;
    if (socket->type() == SOCK_STREAM && socket->state() == image::InetSocket::CONNECTED)
      possible = is_pair && peer->state() == image::InetSocket::CONNECTED && peer->peer() == id &&
                 !socket->local().empty() && !socket->remote().empty();
    if (socket->state() == image::InetSocket::PENDING)
      possible = is_pair && peer->state() == image::InetSocket::LISTENING && !socket->remote().empty();
    if (socket->type() == SOCK_DGRAM && socket->state() > image::InetSocket::CONNECTED) possible = false;
    if (socket->type() == SOCK_DGRAM && socket->state() == image::InetSocket::LISTENING) possible = false;
    if (!possible) fail(ErrorKind::Damaged, "the snapshot has an internet socket that cannot be connected so");
  }
}

bool is_address(const std::string& bytes, std::uint32_t family) {
  if (bytes.empty()) return true;
  const InetAddress address(bytes);
  return !address.empty() && address.get()->sa_family == family;
}

// What the kernel takes for a connection in repair mode.
bool is_kept_connection(const image::InetSocket& socket) {
  constexpr std::uint32_t kHighestScale = 14;  // RFC 7323
  if (socket.state() != image::InetSocket::KEPT) return !socket.has_connection();
  const image::TcpConnection& connection = socket.connection();
  const bool known_state = connection.state() == TCP_ESTABLISHED || connection.state() == TCP_FIN_WAIT1 ||
                           connection.state() == TCP_FIN_WAIT2;
  return socket.protocol() == IPPROTO_TCP && known_state && !socket.local().empty() && !socket.remote().empty() &&
         connection.unacknowledged().size() <= kMostUnread && connection.send_scale() <= kHighestScale &&
         connection.receive_scale() <= kHighestScale && socket.peer() == 0;
}

}  // namespace

void InetSocketKind::check(TableCheck& table, const Description& description) {
  const image::InetSocket& socket = description.inet_socket();
  const bool stream = socket.type() == SOCK_STREAM &&
                      (socket.protocol() == IPPROTO_TCP || socket.protocol() == static_cast<unsigned>(IPPROTO_MPTCP));
  const bool datagram = socket.type() == SOCK_DGRAM && socket.protocol() == IPPROTO_UDP;
  bool possible = (socket.family() == AF_INET || socket.family() == AF_INET6) && (stream || datagram) &&
                  is_address(socket.local(), socket.family()) && is_address(socket.remote(), socket.family()) &&
                  socket.state() >= image::InetSocket::UNCONNECTED && socket.state() <= image::InetSocket::KEPT &&
                  is_kept_connection(socket) && socket.shut_down() <= 3 && socket.unread().size() <= kMostUnread;
  std::size_t bytes = 0;
  for (const image::InetDatagram& sent : socket.datagrams()) {
    possible = possible && datagram && is_address(sent.sender(), socket.family()) && !socket.local().empty();
    bytes += sent.data().size();
  }
  if (!possible || bytes > kMostUnread) fail(ErrorKind::Damaged, "the snapshot has an internet socket that cannot be");
  check_settings(socket.settings());
  if (!checked_) check_relations(table.image);
  checked_ = true;
}

FileDescriptor InetSocketKind::open(TableRestore& table, const Description& description) {
  if (!assembly_) assembly_ = std::make_unique<InetAssembly>(table);
  return assembly_->duplicate(description.inet_socket().id());
}

void InetSocketKind::complete(TableRestore& /*table*/) {
  if (assembly_) assembly_->finish();
  assembly_.reset();
}

}  // namespace crs::engine
