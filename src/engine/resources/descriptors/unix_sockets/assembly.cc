#include "engine/resources/descriptors/unix_sockets/assembly.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/sockets/settings.h"
#include "engine/resources/descriptors/unix_sockets/names.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"

namespace crs::engine {
namespace {

constexpr int kLongBacklog = 4096;

void listen_at(int socket, int backlog) {
  if (::listen(socket, backlog) != 0) fail_errno(errno, "cannot let a unix socket listen");
}

// What has been connected is there: nothing is waited for.
bool has_connection(int listener) {
  pollfd entry{listener, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

// Others may have found the name already, and are sent away.
FileDescriptor accept_own(int listener) {
  while (true) {
    if (!has_connection(listener)) {
      throw Error(ErrorKind::Failed, "a connection to a unix socket of the program went to another program's")
          .advise("See that no other program makes sockets with the program's names, and restart it again");
    }
    FileDescriptor accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) fail_errno(errno, "cannot accept a connection between unix sockets");
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(accepted.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == ::getpid())
      return accepted;
  }
}

}  // namespace

void UnixAssembly::list_sockets() {
  for (const image::OpenDescription& description : table_.image.descriptions()) {
    if (!description.has_unix_socket()) continue;
    const image::UnixSocket& socket = description.unix_socket();
    Made& made = sockets_[socket.id()];
    made.image = &socket;
    if (socket.has_name() && !socket.shares_name())
      by_name_.try_emplace({socket.type(), socket.name().address()}, &made);
  }
}

UnixAssembly::UnixAssembly(TableRestore& table) : table_(table), names_(table.context.notes) {
  list_sockets();
  const auto for_each = [&](auto&& action) {
    for (auto& [id, made] : sockets_) {
      if (!made.socket) action(made);
    }
  };
  for_each([&](Made& made) {
    const bool connected = peer_of(made) != nullptr || made.image->state() == image::UnixSocket::CLOSED;
    if (connected && !needs_listener_of_image(made)) make_connection(made);
  });
  temporary_listeners_.clear();
  for_each([&](Made& made) {
    if (is_alone(made)) make_single(made);
  });
  for_each([&](Made& made) {
    if (made.image->state() != image::UnixSocket::PENDING) make_connection(made);
  });
  for (auto& [id, made] : sockets_) {
    for (const std::uint64_t client : made.image->pending()) let_wait(sockets_.at(client));
  }
}

FileDescriptor UnixAssembly::duplicate(std::uint64_t id) const {
  FileDescriptor copy(::dup(sockets_.at(id).socket.get()));
  if (!copy) fail_errno(errno, "cannot duplicate a unix socket");
  return copy;
}

// The other end, if that says the same.
UnixAssembly::Made* UnixAssembly::peer_of(const Made& made) {
  const auto found = sockets_.find(made.image->peer());
  if (made.image->state() != image::UnixSocket::CONNECTED || found == sockets_.end()) return nullptr;
  const image::UnixSocket& peer = *found->second.image;
  const bool mutual = peer.state() == image::UnixSocket::CONNECTED && peer.peer() == made.image->id();
  return mutual ? &found->second : nullptr;
}

bool UnixAssembly::is_alone(const Made& made) {
  const bool connected = made.image->state() == image::UnixSocket::CONNECTED && peer_of(made) != nullptr;
  return !connected && made.image->state() != image::UnixSocket::CLOSED &&
         made.image->state() != image::UnixSocket::PENDING;
}

bool UnixAssembly::needs_listener_of_image(const Made& made) {
  const Made* const peer = peer_of(made);
  return made.image->accepted_by() != 0 || (peer != nullptr && peer->image->accepted_by() != 0) ||
         (peer == nullptr && listener_of_client(*made.image) != nullptr);
}

// Of a client whose accepted end is closed.
const UnixAssembly::Made* UnixAssembly::listener_of_client(const image::UnixSocket& client) const {
  const Made* const listener = client.has_peer_name() ? named(client.type(), client.peer_name().address()) : nullptr;
  const bool listens = listener != nullptr && listener->image->state() == image::UnixSocket::LISTENING;
  return listens ? listener : nullptr;
}

FileDescriptor UnixAssembly::make_socket(const image::UnixSocket& socket) const {
  FileDescriptor made(::socket(AF_UNIX, static_cast<int>(socket.type()) | SOCK_CLOEXEC, 0));
  if (!made) fail_errno(errno, "cannot make a unix socket");
  return table_.aside(std::move(made));
}

void UnixAssembly::make_single(Made& made) {
  made.socket = make_socket(*made.image);
  name(made, made.socket.get());
  if (made.image->state() == image::UnixSocket::LISTENING) listen_at(made.socket.get(), kLongBacklog);
}

void UnixAssembly::make_connection(Made& made) {
  Made* const peer = peer_of(made);
  FileDescriptor& other = peer != nullptr ? peer->socket : made.closed_end;
  const image::UnixSocket& own = *made.image;
  if (own.shares_name()) {
    connect_by(listener_for(own), own, other, made.socket, peer);
  } else if (peer != nullptr && peer->image->shares_name()) {
    connect_by(listener_for(*peer->image), own, made.socket, other, &made);
  } else if (const Made* const listener = listener_of_client(own); peer == nullptr && listener != nullptr) {
    connect_by(door_of(*listener), own, made.socket, other, &made);
  } else {
    make_pair(made, other, peer);
  }
}

void UnixAssembly::make_pair(Made& made, FileDescriptor& other, Made* peer) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, static_cast<int>(made.image->type()) | SOCK_CLOEXEC, 0, ends.data()) != 0)
    fail_errno(errno, "cannot make a pair of unix sockets");
  FileDescriptor first(ends[0]);
  FileDescriptor second(ends[1]);
  made.socket = table_.aside(std::move(first));
  other = table_.aside(std::move(second));
  name(made, made.socket.get());
  if (peer != nullptr) {
    name(*peer, other.get());
  } else if (made.image->has_peer_name()) {
    NameBinder::bind_in_passing(other.get(), made.image->peer_name().address());
  }
}

void UnixAssembly::name(Made& made, int socket) {
  if (!made.image->has_name()) return;
  FileDescriptor node = names_.bind(socket, made.image->name());
  if (node) made.node = table_.aside(std::move(node));
}

UnixAssembly::Door UnixAssembly::door_of(const Made& listener) {
  return {listener.socket.get(), listener.image->name(), listener.node.get()};
}

void UnixAssembly::connect_by(const Door& door, const image::UnixSocket& like, FileDescriptor& client,
                              FileDescriptor& accepted, Made* named) {
  client = make_socket(like);
  if (named != nullptr) {
    name(*named, client.get());
  } else if (like.has_peer_name() && like.shares_name()) {
    NameBinder::bind_in_passing(client.get(), like.peer_name().address());
  }
  connect_to_name(client.get(), door.name, door.node);
  accepted = table_.aside(accept_own(door.listener));
}

// A client whose connection is not accepted.
void UnixAssembly::let_wait(Made& client) {
  client.socket = make_socket(*client.image);
  name(client, client.socket.get());
  const Door door = door_of(sockets_.at(client.image->peer()));
  connect_to_name(client.socket.get(), door.name, door.node);
}

// The socket that accepted it, or one that has its name as long as is needed.
UnixAssembly::Door UnixAssembly::listener_for(const image::UnixSocket& accepted) {
  if (accepted.accepted_by() != 0) return door_of(sockets_.at(accepted.accepted_by()));
  const auto [place, is_new] = temporary_listeners_.try_emplace({accepted.type(), accepted.name().SerializeAsString()});
  TemporaryListener& listener = place->second;
  if (is_new) {
    listener.name = &accepted.name();
    listener.socket = make_socket(accepted);
    FileDescriptor node = names_.bind(listener.socket.get(), *listener.name);
    if (node) listener.node = table_.aside(std::move(node));
    listen_at(listener.socket.get(), kLongBacklog);
  }
  return {listener.socket.get(), *listener.name, listener.node.get()};
}

const UnixAssembly::Made* UnixAssembly::named(std::uint32_t type, const std::string& sun_path) const {
  const auto found = by_name_.find({type, sun_path});
  return found == by_name_.end() ? nullptr : found->second;
}

void UnixAssembly::send(int sender, const image::UnixMessage& message, std::string_view receiver) {
  std::vector<int> carried;
  for (const std::uint32_t description : message.descriptions()) carried.push_back(table_.place_of(description));
  const bool exact = send_again(sender, message, carried, receiver);
  if (exact || credentials_lost_) return;
  credentials_lost_ = true;
  table_.context.notes.emplace_back(
      "messages that wait in unix sockets were sent by other processes or users (SCM_CREDENTIALS) and seem to come "
      "from the program itself now");
}

// From a socket that is gone or elsewhere. Its name can be had if nobody has it.
void UnixAssembly::fill_from_stranger(const Made& receiver, const image::UnixMessage& message,
                                      std::string_view address) {
  const FileDescriptor stranger = make_socket(*receiver.image);
  if (!message.sender().empty()) NameBinder::bind_in_passing(stranger.get(), message.sender());
  widen_send_buffer(stranger.get());
  send(stranger.get(), message, address);
}

void UnixAssembly::fill(Made& receiver) {
  const Made* const peer = peer_of(receiver);
  const int sender = peer != nullptr ? peer->socket.get() : receiver.closed_end.get();
  if (sender >= 0) widen_send_buffer(sender);
  for (const image::UnixMessage& message : receiver.image->messages()) {
    if (sender >= 0) {
      send(sender, message, {});
      continue;
    }
    if (!receiver.image->has_name())
      fail(ErrorKind::Damaged, "the snapshot has unread data in a unix socket that nobody can have sent");
    const PathTo path(receiver.image->name(), receiver.node.get());
    const Made* const known = named(receiver.image->type(), message.sender());
    if (known == nullptr) {
      fill_from_stranger(receiver, message, path.address());
    } else {
      widen_send_buffer(known->socket.get());
      send(known->socket.get(), message, path.address());
    }
  }
}

void UnixAssembly::settle(Made& made) {
  const image::UnixSocket& socket = *made.image;
  const int number = made.socket.get();
  if (socket.state() == image::UnixSocket::CONNECTED && peer_of(made) == nullptr) {
    const Made& peer = sockets_.at(socket.peer());
    connect_to_name(number, peer.image->name(), peer.node.get());
  }
  if (socket.state() == image::UnixSocket::LISTENING) listen_at(number, static_cast<int>(socket.backlog()));
  // A connection whose other end closes it with something unread is reset (unix_release_sock() in af_unix.c).
  if (socket.reset()) ::send(number, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  made.closed_end.reset();
  if (socket.shut_down() != 0) ::shutdown(number, static_cast<int>(socket.shut_down()) - 1);
}

void UnixAssembly::finish() {
  for (auto& [id, made] : sockets_) fill(made);
  for (auto& [id, made] : sockets_) settle(made);
  for (auto& [id, made] : sockets_) {
    apply_settings(made.socket.get(), made.image->settings(), SettingStage::Finally, "a unix socket",
                   table_.context.notes);
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool told = ::getsockopt(made.socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    if (told && peer.pid != 0 && made.image->has_peer_user() && peer.uid != made.image->peer_user())
      table_.context.notes.push_back(
          fmt::format("a unix socket's other end belongs to user {} now (SO_PEERCRED), not to user {}", peer.uid,
                      made.image->peer_user()));
  }
  names_.keep();
}

}  // namespace crs::engine
