#include "engine/resources/descriptors/unix_sockets/unix_sockets.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/resources/descriptors/files/identity.h"
#include "engine/resources/descriptors/sockets/settings.h"
#include "engine/resources/descriptors/unix_sockets/names.h"
#include "engine/resources/descriptors/unix_sockets/survey.h"

namespace crs::engine {
namespace {

// Messages are part of the image itself.
constexpr std::size_t kMostUnread = std::size_t{64} << 20;

template <typename Ask>
std::string name_by(Ask ask, int socket) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  return ask(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? sun_path_of(address, size) : std::string();
}

bool has_error(int socket) {
  pollfd entry{socket, 0, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLERR) != 0;
}

bool has_urgent_data(int socket) {
  char byte = 0;
  return ::recv(socket, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool connects(const image::UnixSocket& socket) { return socket.type() != SOCK_DGRAM; }

void capture_listener(TableCapture& table, const Seen& seen, const UnixDiag& diag, image::UnixSocket& socket) {
  socket.set_state(image::UnixSocket::LISTENING);
  socket.set_backlog(diag.limit);
  for (const std::uint32_t waiting : diag.pending) {
    if (waiting == 0) {
      return table.refuse(seen,
                          "a listening unix socket with a connection that has been closed before it was accepted, "
                          "and whose data the kernel shows to nobody");
    }
    if (!table.unix_sockets->is_inside(waiting)) {
      return table.refuse(seen, "a listening unix socket at which a connection from another program waits");
    }
    socket.add_pending(waiting);
  }
}

void capture_connection(TableCapture& table, const Seen& seen, const UnixDiag& diag, image::UnixSocket& socket) {
  const int number = seen.copy.get();
  if (*diag.peer != 0) {
    socket.set_state(image::UnixSocket::CONNECTED);
    socket.set_peer(*diag.peer);
    const UnixDiag* const peer = table.unix_sockets->find(*diag.peer);
    if (*diag.peer == diag.inode) table.refuse(seen, "a unix socket that is connected to itself");
    const bool mutual = peer != nullptr && peer->peer == diag.inode;
    if (!mutual && (peer == nullptr || peer->address.empty()))
      table.refuse(seen, "a unix socket that is connected to one without a name, which is connected elsewhere");
  } else if (const std::uint32_t listener = table.unix_sockets->waits_at(diag.inode); listener != 0) {
    int unsent = 0;
    socket.set_state(image::UnixSocket::PENDING);
    socket.set_peer(listener);
    if (::ioctl(number, SIOCOUTQ, &unsent) != 0 || unsent > 0)
      table.refuse(seen,
                   "a unix socket whose connection has not been accepted yet, with data on its way, which the kernel "
                   "shows to nobody before");
  } else {
    socket.set_state(image::UnixSocket::CLOSED);
    socket.set_reset(connects(socket) && has_error(number));
    const std::string peer_name = name_by(::getpeername, number);
    if (!peer_name.empty()) socket.mutable_peer_name()->set_address(peer_name);
  }
}

image::UnixMessage message_of(const TableCapture& table, const SurveyedMessage& surveyed) {
  image::UnixMessage message;
  const QueuedMessage& queued = surveyed.message;
  message.set_data(queued.data);
  message.set_sender(queued.sender);
  if (queued.credentials) {
    message.set_has_credentials(true);
    const std::optional<std::uint32_t> member = table.find_process(queued.credentials->pid);
    message.set_process(member ? table.processes[*member].own_pid : queued.credentials->pid);
    message.set_user(queued.credentials->uid);
    message.set_group(queued.credentials->gid);
  }
  return message;
}

void capture_messages(TableCapture& table, const Seen& seen, image::UnixSocket& socket) {
  std::size_t unread = 0;
  for (const SurveyedMessage& surveyed : table.unix_sockets->messages(seen)) {
    unread += surveyed.message.data.size();
    *socket.add_messages() = message_of(table, surveyed);
  }
  const bool can_be_filled = socket.has_name() || socket.state() == image::UnixSocket::CONNECTED ||
                             socket.state() == image::UnixSocket::CLOSED;
  if (socket.messages_size() > 0 && !can_be_filled)
    table.refuse(seen, "a unix socket with unread data, without a name and not connected any more");
  if (unread > kMostUnread) table.refuse(seen, fmt::format("a unix socket with {} unread bytes", unread));
}

// What other ends come back as that are no unix sockets of the image (expendable ones) is closed for this one.
void part_from_given_up(const std::set<std::uint64_t>& kept, image::UnixSocket& socket) {
  if (socket.peer() != 0 && !kept.contains(socket.peer())) {
    socket.set_state(image::UnixSocket::CLOSED);
    socket.clear_peer();
  }
  if (!kept.contains(socket.accepted_by())) socket.clear_accepted_by();
  auto& pending = *socket.mutable_pending();
  pending.erase(std::remove_if(pending.begin(), pending.end(), [&](std::uint64_t id) { return !kept.contains(id); }),
                pending.end());
}

// Messages are put back by the root, which has none of a tree's pidfds and files in /proc of descendants then.
bool is_opened_later(const TableCapture& table, const Seen& seen, const image::OpenDescription& description) {
  if (table.processes.size() < 2) return false;
  return description.has_pidfd() || (seen.first_process() != 0 && is_own_in_proc(table, seen));
}

// Says which descriptions go with its messages.
void add_carried(TableCapture& table, const Seen& seen, image::UnixSocket& socket) {
  const std::vector<SurveyedMessage>& messages = table.unix_sockets->messages(seen);
  for (int i = 0; i < socket.messages_size(); ++i) {
    for (const std::size_t place : messages[static_cast<std::size_t>(i)].seen) {
      const std::optional<std::uint32_t> carried = table.description_of(table.seen[place]);
      if (!carried)
        return table.refuse(seen, "a unix socket through which a descriptor is on its way that cannot be kept");
      if (is_opened_later(table, table.seen[place], table.image.descriptions(static_cast<int>(*carried))))
        return table.refuse(seen,
                            "a unix socket through which a pidfd, or a file in /proc of a descendant, is on its way");
      socket.mutable_messages(i)->add_descriptions(*carried);
    }
  }
}

}  // namespace

// Which socket that listens, if it is one of the table, has given its name to this one.
void UnixSocketKind::capture_acceptor(const TableCapture& table, const UnixDiag& diag, image::UnixSocket& socket) {
  if (!connects(socket) || diag.address.empty() || !diag.peer) return;
  if (by_address_.empty()) {
    for (const Seen& other : table.seen) {
      const UnixDiag* const known = table.unix_sockets->find(other);
      if (known != nullptr && !known->address.empty()) by_address_.emplace(known->address, known);
    }
  }
  const auto [begin, end] = by_address_.equal_range(diag.address);
  for (auto entry = begin; entry != end; ++entry) {
    const UnixDiag& other = *entry->second;
    if (other.inode == diag.inode || other.type != diag.type || other.node != diag.node) continue;
    socket.set_shares_name(true);
    if (!other.listens) continue;
    socket.set_accepted_by(other.inode);
    return;  // however many were accepted by it
  }
}

bool UnixSocketKind::recognises(const TableCapture& table, const Seen& seen) {
  return table.unix_sockets != nullptr && table.unix_sockets->is_whole(seen);
}

void UnixSocketKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  const UnixDiag& diag = *table.unix_sockets->find(seen);
  image::UnixSocket& socket = *description.mutable_unix_socket();
  socket.set_id(diag.inode);
  socket.set_type(static_cast<std::uint32_t>(diag.type));
  socket.set_shut_down(diag.shut_down);
  const std::string name = name_by(::getsockname, seen.copy.get());
  Reachable reachable = Reachable::Same;
  if (!name.empty()) reachable = capture_name(table, seen, name, &diag, node_search_, *socket.mutable_name());
  if (diag.listens) {
    capture_listener(table, seen, diag, socket);
  } else if (diag.peer) {
    capture_connection(table, seen, diag, socket);
  }
  capture_acceptor(table, diag, socket);
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(seen.copy.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid != 0) {
    socket.set_peer_user(peer.uid);
  }
  if (connects(socket) && has_urgent_data(seen.copy.get()))
    table.refuse(seen, "a unix socket with out-of-band data that has not been read");
  capture_messages(table, seen, socket);
  capture_settings(table, seen, *socket.mutable_settings());
  if (socket.has_name()) look_at_place(table, seen, socket.name());
  warn_of_names(table, seen, socket, reachable);
}

// Sockets that were accepted share the name of the one that listens.
void UnixSocketKind::look_at_place(TableCapture& table, const Seen& seen, const image::UnixName& name) {
  if (!looked_at_.emplace(name.address(), name.moved_to()).second) return;
  if (const auto obstacle = obstacle_to_name(name)) {
    table.lack(seen, fmt::format("the unix socket {}, and {}", name.address(), *obstacle),
               "make its directory writable for this user, or restart as root");
  }
}

// Nobody comes to sockets that are connected by their names.
void UnixSocketKind::warn_of_names(TableCapture& table, const Seen& seen, const image::UnixSocket& socket,
                                   Reachable reachable) {
  const bool is_known_to_others = socket.state() == image::UnixSocket::LISTENING || !connects(socket);
  const std::string& path = socket.name().moved_to().empty() ? socket.name().address() : socket.name().moved_to();
  if (reachable == Reachable::Same || !is_known_to_others || !warned_of_.emplace(path, reachable).second) return;
  table.context.warnings.push_back(
      reachable == Reachable::Less
          ? fmt::format("{} is the unix socket {}, which has other names besides (link): whoever uses those will not "
                        "reach it after a restart",
                        table.name_of(seen), path)
          : fmt::format("{} is a unix socket that was bound to {} and is not there any more: unless it was unlinked, "
                        "whoever knows it by another name will not reach it after a restart",
                        table.name_of(seen), path));
}

void UnixSocketKind::finish(TableCapture& table) {
  std::set<std::uint64_t> kept;
  for (const image::OpenDescription& description : table.image.descriptions()) {
    if (description.has_unix_socket()) kept.insert(description.unix_socket().id());
  }
  for (const Seen& seen : table.seen) {
    const std::optional<std::uint32_t> own = table.description_of(seen);
    if (!own || !table.image.descriptions(static_cast<int>(*own)).has_unix_socket()) continue;
    image::UnixSocket& socket = *table.image.mutable_descriptions(static_cast<int>(*own))->mutable_unix_socket();
    part_from_given_up(kept, socket);
    add_carried(table, seen, socket);
  }
}

namespace {

void check_messages(const TableCheck& table, const image::UnixSocket& socket) {
  constexpr int kMostDescriptors = 253;
  std::size_t bytes = 0;
  for (const image::UnixMessage& message : socket.messages()) {
    bytes += message.data().size();
    const bool possible = message.descriptions_size() <= kMostDescriptors &&
                          message.sender().size() <= sizeof(sockaddr_un::sun_path) &&
                          (socket.type() != SOCK_STREAM || !message.data().empty());
    if (!possible) fail(ErrorKind::Damaged, "the snapshot has a message that cannot be in a unix socket");
    for (const std::uint32_t description : message.descriptions()) {
      if (description >= static_cast<std::uint32_t>(table.image.descriptions_size()))
        fail(ErrorKind::Damaged, "the snapshot has a message with a descriptor that it does not have");
    }
  }
  if (bytes > kMostUnread) fail(ErrorKind::Damaged, "the snapshot has a unix socket with {} unread bytes", bytes);
}

// What a forger could write about connections would otherwise make the restart wait or crash.
class Relations {
 public:
  explicit Relations(const image::Descriptors& image) {
    for (const image::OpenDescription& description : image.descriptions()) {
      if (!description.has_unix_socket()) continue;
      const image::UnixSocket& socket = description.unix_socket();
      if (socket.id() == 0 || !sockets_.emplace(socket.id(), &socket).second)
        fail(ErrorKind::Damaged, "the snapshot has two unix sockets with one id");
    }
  }

  void check() {
    for (const auto& [id, socket] : sockets_) note_waiting(id, *socket);
    for (const auto& [id, socket] : sockets_) {
      const bool possible = may_have_peer(id, *socket) && may_have_state(id, *socket) && may_be_accepted(*socket) &&
                            (!socket->shares_name() || socket->has_name());
      if (!possible) fail(ErrorKind::Damaged, "the snapshot has a unix socket that cannot be connected so");
    }
  }

 private:
  const image::UnixSocket* find(std::uint64_t id) const {
    const auto found = sockets_.find(id);
    return found == sockets_.end() ? nullptr : found->second;
  }

  // The connections that wait at a listener.
  void note_waiting(std::uint64_t id, const image::UnixSocket& socket) {
    for (const std::uint64_t pending : socket.pending()) {
      const image::UnixSocket* const client = find(pending);
      const bool possible = socket.state() == image::UnixSocket::LISTENING && client != nullptr &&
                            client->state() == image::UnixSocket::PENDING && client->peer() == id &&
                            waiting_.insert(pending).second;
      if (!possible) fail(ErrorKind::Damaged, "the snapshot has a waiting connection that cannot be");
    }
  }

  bool may_have_peer(std::uint64_t id, const image::UnixSocket& socket) const {
    const image::UnixSocket* const peer = find(socket.peer());
    const bool is_connected = socket.state() == image::UnixSocket::CONNECTED;
    const bool has_peer = is_connected || socket.state() == image::UnixSocket::PENDING;
    if (!has_peer) return true;
    if (peer == nullptr || peer == &socket || peer->type() != socket.type()) return false;
    const bool mutual = peer->state() == image::UnixSocket::CONNECTED && peer->peer() == id;
    return !is_connected || mutual || (!connects(socket) && peer->has_name());
  }

  bool may_have_state(std::uint64_t id, const image::UnixSocket& socket) const {
    if (socket.state() == image::UnixSocket::PENDING) return connects(socket) && waiting_.contains(id);
    if (socket.state() == image::UnixSocket::LISTENING) return connects(socket) && socket.has_name();
    return true;
  }

  bool may_be_accepted(const image::UnixSocket& socket) const {
    if (socket.accepted_by() == 0) return true;
    const image::UnixSocket* const listener = find(socket.accepted_by());
    return listener != nullptr && listener->state() == image::UnixSocket::LISTENING &&
           listener->type() == socket.type();
  }

  std::map<std::uint64_t, const image::UnixSocket*> sockets_;
  std::set<std::uint64_t> waiting_;
};

}  // namespace

void UnixSocketKind::check(TableCheck& table, const Description& description) {
  const image::UnixSocket& socket = description.unix_socket();
  const bool possible =
      (socket.type() == SOCK_STREAM || socket.type() == SOCK_DGRAM || socket.type() == SOCK_SEQPACKET) &&
      socket.state() >= image::UnixSocket::UNCONNECTED && socket.state() <= image::UnixSocket::PENDING &&
      socket.shut_down() <= 3;
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a unix socket that cannot be");
  if (socket.has_name() && checked_names_.insert(socket.name().SerializeAsString()).second) check_name(socket.name());
  if (socket.has_peer_name()) check_address(socket.peer_name());
  check_settings(socket.settings());
  check_messages(table, socket);
  if (!checked_) Relations(table.image).check();
  checked_ = true;
}

FileDescriptor UnixSocketKind::open(TableRestore& table, const Description& description) {
  if (!assembly_) assembly_ = std::make_unique<UnixAssembly>(table);
  return assembly_->duplicate(description.unix_socket().id());
}

void UnixSocketKind::complete(TableRestore& /*table*/) {
  if (assembly_) assembly_->finish();
  assembly_.reset();
}

}  // namespace crs::engine
