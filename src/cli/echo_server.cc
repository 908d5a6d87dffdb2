#include "cli/echo_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/error.h"

namespace crs::cli {
namespace {

FileDescriptor listen_on_loopback() {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    fail_errno(errno, "listening on 127.0.0.1");
  }
  return socket;
}

// False: the connection has ended. What a peer does not take of its own bytes is not worth waiting for.
bool echo(int connection) {
  std::array<char, 4096> buffer{};
  const ssize_t length = ::recv(connection, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (length < 0) return errno == EAGAIN || errno == EINTR;
  return length > 0 &&
         ::send(connection, buffer.data(), static_cast<std::size_t>(length), MSG_DONTWAIT | MSG_NOSIGNAL) == length;
}

}  // namespace

EchoServer::EchoServer() : listener_(listen_on_loopback()), end_(::eventfd(0, EFD_CLOEXEC)) {
  if (!end_) fail_errno(errno, "making a channel");
  thread_ = std::thread([this] { serve(); });
}

EchoServer::~EchoServer() {
  static_cast<void>(::eventfd_write(end_.get(), 1));
  thread_.join();
}

std::uint16_t EchoServer::port() const {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  if (::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    fail_errno(errno, "asking a socket for its port");
  return ntohs(address.sin_port);
}

void EchoServer::serve() {
  std::vector<FileDescriptor> connections;
  while (true) {
    std::vector<pollfd> entries{{.fd = end_.get(), .events = POLLIN, .revents = 0},
                                {.fd = listener_.get(), .events = POLLIN, .revents = 0}};
    for (const FileDescriptor& connection : connections)
      entries.push_back({.fd = connection.get(), .events = POLLIN, .revents = 0});
    if (::poll(entries.data(), entries.size(), -1) < 0) continue;  // EINTR
    if (entries[0].revents != 0) return;
    std::vector<FileDescriptor> staying;
    for (std::size_t i = 0; i < connections.size(); ++i) {
      if (entries[i + 2].revents == 0 || echo(connections[i].get())) staying.push_back(std::move(connections[i]));
    }
    connections = std::move(staying);
    FileDescriptor fresh(entries[1].revents != 0 ? ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC) : -1);
    if (fresh) connections.push_back(std::move(fresh));
  }
}

}  // namespace crs::cli
