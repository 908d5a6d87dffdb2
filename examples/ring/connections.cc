#include "connections.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ring {
namespace {

sockaddr_in address_of(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int make_socket(int flags = 0) {
  const int number = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (number < 0) throw crs::Error::from_errno("making a socket", errno);
  return number;
}

}  // namespace

Connections::Connections(int own_port, int next_port) : own_port_(own_port), next_port_(next_port) { open_listener(); }

crs::Answer Connections::notify(crs::State state) {
  switch (state) {
    case crs::State::RestartPre:
      // The sockets of the process that the snapshot was taken of. Close what is left of them, open nothing.
      close(before_);
      close(after_);
      close(listener_);
      break;
    case crs::State::Restart:
      open_listener();  // the connections come with the next send and accept
      break;
    default:  // Checkpoint: a snapshot may be taken at any time; what is on its way is sent again if need be
      break;
  }
  return crs::Answer::Done;
}

void Connections::open_listener() {
  // Of what poll(2) said, a restart may have made another listener meanwhile.
  const int number = make_socket(SOCK_NONBLOCK);
  listener_ = Socket{crs::service().ledger().claim(number, "connections")};
  const int yes = 1;
  ::setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const sockaddr_in address = address_of(own_port_);
  if (::bind(number, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(number, 1) != 0) {
    throw crs::Error::from_errno("listening on port " + std::to_string(own_port_), errno);
  }
}

void Connections::connect() {
  if (after_) return;
  const int number = make_socket();
  after_ = Socket{crs::service().ledger().claim(number, "connections")};
  const sockaddr_in address = address_of(next_port_);
  if (::connect(number, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return close(after_);
  ++connected_;
}

void Connections::accept() {
  const int number = ::accept4(listener_->claim.number, nullptr, nullptr, SOCK_CLOEXEC);
  if (number < 0) return;
  close(before_);  // the station before has come back
  before_ = Socket{crs::service().ledger().claim(number, "connections")};
  ++accepted_;
}

// Through the ledger, which looks whether the number is still what was claimed.
void Connections::close(std::optional<Socket>& socket) {
  if (socket) crs::service().ledger().close(socket->claim);
  socket.reset();
}

void Connections::wait(int milliseconds) {
  const auto number = [](const std::optional<Socket>& socket) { return socket ? socket->claim.number : -1; };
  pollfd polled[3] = {};
  {
    const crs::CriticalScope section;
    connect();
    polled[0] = {number(listener_), POLLIN, 0};
    polled[1] = {number(before_), POLLIN, 0};
    polled[2] = {number(after_), POLLIN, 0};
  }
  if (::poll(polled, 3, milliseconds) <= 0 || (polled[0].revents & POLLIN) == 0) return;
  const crs::CriticalScope section;
  accept();
}

template <typename Message>
std::optional<Message> Connections::read(std::optional<Socket>& socket) {
  if (!socket) return std::nullopt;
  char bytes[sizeof(Message)];
  const std::size_t missing = sizeof(Message) - socket->partial.size();
  const ssize_t count = ::recv(socket->claim.number, bytes, missing, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (count <= 0) {
    close(socket);
    return std::nullopt;
  }
  socket->partial.append(bytes, static_cast<std::size_t>(count));
  if (socket->partial.size() < sizeof(Message)) return std::nullopt;
  Message message;
  std::memcpy(&message, socket->partial.data(), sizeof message);
  socket->partial.clear();
  return message;
}

template <typename Message>
bool Connections::write(std::optional<Socket>& socket, const Message& message) {
  if (!socket) return false;
  // These few bytes go into the socket's buffer at once, or the peer takes nothing any more.
  const ssize_t count = ::send(socket->claim.number, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (count == static_cast<ssize_t>(sizeof message)) return true;
  close(socket);
  return false;
}

bool Connections::send(const Token& token) { return write(after_, token); }
std::optional<std::uint64_t> Connections::receive_acknowledgement() { return read<std::uint64_t>(after_); }
std::optional<Token> Connections::receive() { return read<Token>(before_); }
bool Connections::acknowledge(std::uint64_t number) { return write(before_, number); }

}  // namespace ring
