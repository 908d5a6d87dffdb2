#include "engine/resources/descriptors/inet_sockets/inet_assembly.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <utility>

#include "base/error.h"
#include "engine/resources/descriptors/inet_sockets/ended_connections.h"
#include "engine/resources/descriptors/sockets/dead_socket.h"
#include "engine/resources/descriptors/sockets/settings.h"

namespace crs::engine {
namespace {

constexpr int kLongBacklog = 4096;
constexpr int kPatienceMilliseconds = 5000;
constexpr int kLocalPortRange = 51;  // IP_LOCAL_PORT_RANGE, since Linux 6.3

bool is_stream(const image::InetSocket& socket) { return socket.type() == SOCK_STREAM; }

// For a while, so that what the killed program's connections have left behind (TIME_WAIT, tcp(7)) is not in the way.
void allow_reuse(int socket) {
  constexpr int kYes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &kYes, sizeof kYes);
}

// AF_UNSPEC if it is none.
int family_of(int socket) {
  int family = AF_UNSPEC;
  socklen_t size = sizeof family;
  return ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 ? family : AF_UNSPEC;
}

void bind_to(int socket, const InetAddress& address) {
  if (::bind(socket, address.get(), address.size()) == 0) return;
  if (errno == EADDRINUSE) {
    Error error = Error::from_errno(fmt::format("the program's address {} is taken", address.words()), EADDRINUSE);
    throw error.advise(
        "End the program that uses it; perhaps it is the program itself, still running. If nobody does, the kernel "
        "remembers a connection of the killed program for up to a minute: try again then");
  }
  if (errno == EADDRNOTAVAIL) {
    throw Error(ErrorKind::Failed, fmt::format("the program's address {} is none of this machine", address.words()))
        .advise("Restart it where the address exists");
  }
  fail_errno(errno, "cannot give a socket its address {}", address.words());
}

void listen_at(int socket, int backlog) {
  if (::listen(socket, backlog) != 0) fail_errno(errno, "cannot let a socket listen");
}

// Others may have found the address already, and are sent away.
FileDescriptor accept_from(int listener, const InetAddress& client) {
  while (true) {
    pollfd waiting{listener, POLLIN, 0};
    if (::poll(&waiting, 1, kPatienceMilliseconds) != 1)
      fail(ErrorKind::Failed, "a connection from {} to the program itself does not arrive", client.words());
    FileDescriptor accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) fail_errno(errno, "cannot accept a connection from {}", client.words());
    if (InetAddress::remote_of(accepted.get()).place() == client.place()) return accepted;
  }
}

// What does not fit into the receiver's queue waits in the sender's, as it may have done before.
void send_all(int sender, std::string_view data) {
  while (!data.empty()) {
    const ssize_t put = ::send(sender, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) {
      data.remove_prefix(static_cast<std::size_t>(put));
      continue;
    }
    pollfd room{sender, POLLOUT, 0};
    const bool may_wait = put < 0 && errno == EAGAIN;
    if (!may_wait || ::poll(&room, 1, kPatienceMilliseconds) != 1)
      fail_errno(may_wait ? ENOBUFS : errno, "cannot put {} unread bytes back into a TCP connection", data.size());
  }
}

InetAddress local_of(const image::InetSocket& socket) { return InetAddress(socket.local()); }
InetAddress remote_of(const image::InetSocket& socket) { return InetAddress(socket.remote()); }

}  // namespace

// One that has this address, or all addresses with this port.
template <typename Wanted>
InetAssembly::Made* InetAssembly::find_at(const InetPlace& place, Wanted is_wanted) {
  const auto [begin, end] = by_port_.equal_range(place.port);
  for (auto entry = begin; entry != end; ++entry) {
    const InetPlace own = local_of(*entry->second->image).place();
    if (is_wanted(*entry->second->image) && (own.address == place.address || own.is_any())) return entry->second;
  }
  return nullptr;
}

InetAssembly::InetAssembly(TableRestore& table) : table_(table) {
  for (const image::OpenDescription& description : table.image.descriptions()) {
    if (!description.has_inet_socket()) continue;
    const image::InetSocket& socket = description.inet_socket();
    Made& made = sockets_[socket.id()];
    made.image = &socket;
    if (!socket.local().empty()) by_port_.emplace(local_of(socket).place().port, &made);
  }
  forget_killed_program();
  // Where nobody listens any more, somebody has to for a while: before others take the port.
  make_connections(false);
  for (auto& [id, made] : sockets_) {
    const image::InetSocket& socket = *made.image;
    if (socket.state() == image::InetSocket::RESET)
      make_reset(made);
    else if (socket.state() == image::InetSocket::ENDED)
      make_ended(made);
    else if (socket.state() == image::InetSocket::KEPT)
      made.socket = table_.aside(FileDescriptor(::dup(table_.connection(id))));
    else if (!is_stream(socket) || socket.state() == image::InetSocket::LISTENING ||
             socket.state() == image::InetSocket::UNCONNECTED)
      make_bound(made);
  }
  make_connections(true);
  for (auto& [id, made] : sockets_) {
    if (made.image->state() == image::InetSocket::PENDING) let_wait(made);
  }
}

// Its connections are in the way for a minute, at either end.
void InetAssembly::forget_killed_program() const {
  std::set<std::uint16_t> ports;
  for (const auto& [id, made] : sockets_) {
    if (is_stream(*made.image) && !made.image->local().empty()) ports.insert(local_of(*made.image).place().port);
  }
  if (!ports.empty()) forget_ended_connections(ports);
}

FileDescriptor InetAssembly::duplicate(std::uint64_t id) const {
  FileDescriptor copy(::dup(sockets_.at(id).socket.get()));
  if (!copy) fail_errno(errno, "cannot duplicate a socket");
  return copy;
}

FileDescriptor InetAssembly::make_socket(const image::InetSocket& socket) const {
  FileDescriptor made(::socket(static_cast<int>(socket.family()), static_cast<int>(socket.type()) | SOCK_CLOEXEC,
                               static_cast<int>(socket.protocol())));
  if (!made) fail_errno(errno, "cannot make a socket");
  apply_settings(made.get(), socket.settings(), SettingStage::BeforeBinding, "a socket", table_.context.notes);
  return table_.aside(std::move(made));
}

void InetAssembly::make_bound(Made& made) {
  const image::InetSocket& socket = *made.image;
  made.socket = make_socket(socket);
  const int number = made.socket.get();
  if (is_stream(socket)) allow_reuse(number);
  if (!socket.local().empty()) bind_to(number, local_of(socket));
  if (socket.state() == image::InetSocket::LISTENING) {
    apply_buffer_sizes(number, socket.settings(), "a listening socket", table_.context.notes);
    listen_at(number, kLongBacklog);
  }
}

void InetAssembly::make_reset(Made& made) {
  const image::InetSocket& socket = *made.image;
  made.socket = table_.aside(make_dead_socket(
      {static_cast<int>(socket.family()), static_cast<int>(socket.type()), static_cast<int>(socket.protocol())}));
}

// The other end is this process for a moment, and ends the connection when what is unread has been sent.
void InetAssembly::make_ended(Made& made) {
  const image::InetSocket& socket = *made.image;
  InetAddress address = InetAddress::loopback(static_cast<int>(socket.family()));
  const FileDescriptor listener = make_socket(socket);
  bind_to(listener.get(), address);
  listen_at(listener.get(), 1);
  address = InetAddress::local_of(listener.get());
  made.socket = make_socket(socket);
  apply_buffer_sizes(made.socket.get(), socket.settings(), "a TCP socket", table_.context.notes);
  if (::connect(made.socket.get(), address.get(), address.size()) != 0)
    fail_errno(errno, "cannot make a connection that has ended");
  const FileDescriptor other = accept_from(listener.get(), InetAddress::local_of(made.socket.get()));
  widen_send_buffer(other.get());
  send_all(other.get(), socket.unread());
  ::shutdown(other.get(), SHUT_WR);
}

// The socket of the image that listens where `server` would have been accepted.
InetAssembly::Made* InetAssembly::listener_of(const image::InetSocket& server) {
  return find_at(local_of(server).place(),
                 [](const image::InetSocket& socket) { return socket.state() == image::InetSocket::LISTENING; });
}

void InetAssembly::make_connections(bool with_listeners_of_image) {
  for (auto& [id, made] : sockets_) {
    if (!is_stream(*made.image) || made.image->state() != image::InetSocket::CONNECTED || made.socket) continue;
    Made* client = &made;
    Made* server = &sockets_.at(made.image->peer());
    if (listener_of(*client->image) != nullptr) std::swap(client, server);
    const Made* const listener = listener_of(*server->image);
    if ((listener != nullptr) != with_listeners_of_image) continue;
    if (listener != nullptr) {
      connect_pair(*client, *server, listener->socket.get());
      continue;
    }
    const FileDescriptor temporary = make_socket(*server->image);
    allow_reuse(temporary.get());
    apply_buffer_sizes(temporary.get(), server->image->settings(), "a TCP socket", table_.context.notes);
    bind_to(temporary.get(), local_of(*server->image));
    listen_at(temporary.get(), 1);
    connect_pair(*client, *server, temporary.get());
  }
}

void InetAssembly::connect_pair(Made& client, Made& server, int listener) {
  connect_client(client, remote_of(*client.image));
  server.socket = table_.aside(accept_from(listener, local_of(*client.image)));
  allow_reuse(server.socket.get());
}

// Where a socket of the killed program that had the port is still remembered (TIME_WAIT, tcp(7)), it cannot be bound.
// Then the kernel chooses it at connect(2), from a range of one, and only the connection as a whole must be new.
void InetAssembly::give_local_address(const Made& client) const {
  const InetAddress local = local_of(*client.image);
  if (local.empty()) return;
  const int number = client.socket.get();
  try {
    return bind_to(number, local);
  } catch (const Error& error) {
    const std::uint32_t port = local.place().port;
    const std::uint32_t range = (port << 16U) | port;
    constexpr int kYes = 1;
    const bool from_range = error.error_number() == EADDRINUSE &&
                            ::setsockopt(number, IPPROTO_IP, kLocalPortRange, &range, sizeof range) == 0 &&
                            ::setsockopt(number, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &kYes, sizeof kYes) == 0;
    if (!from_range) throw;
    bind_to(number, local.with_port(0));
  }
}

// The kernel remembers the killed program's connection between the same two places for a second at least, and nothing
// tells when it forgets.
void InetAssembly::connect_client(Made& client, const InetAddress& to) {
  constexpr timespec kMoment{0, 20'000'000};
  constexpr int kAttempts = 200;
  client.socket = make_socket(*client.image);
  const int number = client.socket.get();
  allow_reuse(number);
  apply_buffer_sizes(number, client.image->settings(), "a TCP socket", table_.context.notes);
  give_local_address(client);
  for (int attempt = 1; ::connect(number, to.get(), to.size()) != 0; ++attempt) {
    if (errno != EADDRNOTAVAIL || attempt == kAttempts)
      fail_errno(errno, "cannot connect {} to {} again, both of the program itself", local_of(*client.image).words(),
                 to.words());
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &kMoment, nullptr);
  }
  constexpr std::uint32_t kAnyPort = 0;
  ::setsockopt(number, IPPROTO_IP, kLocalPortRange, &kAnyPort, sizeof kAnyPort);
}

void InetAssembly::let_wait(Made& client) { connect_client(client, remote_of(*client.image)); }

void InetAssembly::fill_stream(const Made& receiver) {
  if (receiver.image->unread().empty() || receiver.image->state() != image::InetSocket::CONNECTED) return;
  const Made& sender = sockets_.at(receiver.image->peer());
  widen_send_buffer(sender.socket.get());
  send_all(sender.socket.get(), receiver.image->unread());
}

// From the socket that sent it, or from one that has its address for a moment.
void InetAssembly::fill_datagrams(const Made& receiver) {
  const InetAddress local = local_of(*receiver.image);
  for (const image::InetDatagram& datagram : receiver.image->datagrams()) {
    const InetAddress from(datagram.sender());
    const Made* const known = find_at(from.place(), [](const image::InetSocket& socket) { return !is_stream(socket); });
    FileDescriptor stranger;
    int sender = known == nullptr ? -1 : known->socket.get();
    if (sender < 0) {
      stranger = make_socket(*receiver.image);
      allow_reuse(stranger.get());
      if (::bind(stranger.get(), from.get(), from.size()) == 0) sender = stranger.get();
    }
    const std::string& data = datagram.data();
    if (sender >= 0) widen_send_buffer(sender);
    const InetAddress to = local.reachable_from(from.place(), family_of(sender));
    if (sender < 0 || ::sendto(sender, data.data(), data.size(), MSG_DONTWAIT, to.get(), to.size()) < 0)
      table_.context.notes.push_back(
          fmt::format("a datagram from {} that waited at {} is lost", from.words(), local.words()));
  }
}

void InetAssembly::settle(Made& made) {
  const image::InetSocket& socket = *made.image;
  const int number = made.socket.get();
  if (socket.state() == image::InetSocket::LISTENING) listen_at(number, static_cast<int>(socket.backlog()));
  if (!is_stream(socket) && socket.state() == image::InetSocket::CONNECTED) {
    const InetAddress to = remote_of(socket);
    if (::connect(number, to.get(), to.size()) != 0)
      table_.context.notes.push_back(fmt::format("a UDP socket is not connected to {} any more", to.words()));
  }
  const bool may_be_shut = socket.state() != image::InetSocket::RESET && socket.state() != image::InetSocket::KEPT;
  if (socket.shut_down() != 0 && may_be_shut) ::shutdown(number, static_cast<int>(socket.shut_down()) - 1);
  apply_settings(number, socket.settings(), SettingStage::BeforeBinding, "a socket", table_.context.notes);
  apply_settings(number, socket.settings(), SettingStage::Finally, "a socket", table_.context.notes);
}

void InetAssembly::finish() {
  for (const auto& [id, made] : sockets_) fill_stream(made);
  for (const auto& [id, made] : sockets_) fill_datagrams(made);
  for (auto& [id, made] : sockets_) settle(made);
}

}  // namespace crs::engine
