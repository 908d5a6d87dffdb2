#include "wire/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "base/error.h"

namespace crs::wire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLengthBytes = 4;
constexpr std::chrono::seconds kLongestSend{10};

// False: the time has passed.
bool wait_for(int socket, short events, Connection::Time until) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    pollfd entry{.fd = socket, .events = events, .revents = 0};
    constexpr std::int64_t kLongest = 1'000'000;
    const int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kLongest)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) fail_errno(errno, "waiting for a message");
    if (Clock::now() >= until) return false;
  }
}

std::string length_of(std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < kLengthBytes; ++i) bytes += static_cast<char>(size >> (8 * i) & 0xffU);
  return bytes;
}

std::string framed(const Message& message) {
  std::string bytes = encode(message);
  bytes.insert(0, length_of(bytes.size()));
  return bytes;
}

std::size_t read_length(std::string_view bytes) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    size |= static_cast<std::size_t>(static_cast<std::uint8_t>(bytes[i])) << (8 * i);
  }
  return size;
}

}  // namespace

Peer Connection::peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    fail_errno(errno, "asking who {} is", peer_);
  }
  return {credentials.pid, credentials.uid};
}

void Connection::shut() noexcept { ::shutdown(socket_.get(), SHUT_RDWR); }

bool Connection::has_ended() const noexcept {
  pollfd entry{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&entry, 1, 0) > 0;
}

std::string_view Connection::put(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      break;
    } else if (errno == EPIPE || errno == ECONNRESET) {
      left_unread_ = left_unread_ || errno == ECONNRESET;
      fail(ErrorKind::ProgramGone, "{} has closed the connection", peer_);
    } else if (errno != EINTR) {
      fail_errno(errno, "sending a message to {}", peer_);
    }
  }
  return bytes;
}

void Connection::send(const Message& message) {
  const std::string bytes = framed(message);
  const auto until = Clock::now() + kLongestSend;
  for (std::string_view rest = put(bytes); !rest.empty(); rest = put(rest)) {
    if (!wait_for(socket_.get(), POLLOUT, until)) fail(ErrorKind::Failed, "{} takes no message", peer_);
  }
}

void Connection::start_sending(const Message& message) {
  const std::string bytes = framed(message);
  unsent_ = put(bytes);
}

bool Connection::finish_sending(Time until) {
  try {
    while (!unsent_.empty()) {
      if (!wait_for(socket_.get(), POLLOUT, until)) return false;
      unsent_.erase(0, unsent_.size() - put(unsent_).size());
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::ProgramGone) throw;
    unsent_.clear();
  }
  return true;
}

Connection::Fill Connection::fill(std::size_t wanted, std::optional<Time> until) {
  std::array<char, 65536> piece;
  while (partial_.size() < wanted) {
    if (until && !wait_for(socket_.get(), POLLIN, *until)) return Fill::TimedOut;
    const ssize_t got = ::read(socket_.get(), piece.data(), std::min(piece.size(), wanted - partial_.size()));
    if (got > 0) {
      partial_.append(piece.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || errno == ECONNRESET) {  // reset: the peer had not read all that was sent to it (unix(7))
      left_unread_ = left_unread_ || got < 0;
      return Fill::End;
    } else if (errno != EINTR && errno != EAGAIN) {
      fail_errno(errno, "reading from {}", peer_);
    }
  }
  return Fill::Done;
}

Received Connection::receive(std::optional<Time> until) {
  Fill fill_result = fill(kLengthBytes, until);
  std::size_t length = 0;
  if (fill_result == Fill::Done) {
    length = read_length(partial_);
    if (length == 0 || length > kLongestMessage) {
      fail(ErrorKind::Failed, "{} announces a message of {} bytes; at most {} are allowed", peer_, length,
           kLongestMessage);
    }
    fill_result = fill(kLengthBytes + length, until);
  }
  if (fill_result == Fill::TimedOut) return {.kind = Received::Kind::TimedOut};
  if (fill_result == Fill::End) {
    if (!partial_.empty()) fail(ErrorKind::Failed, "{} ends in the middle of a message", peer_);
    return {.kind = Received::Kind::End};
  }
  const std::string bytes = std::exchange(partial_, {});
  return {.kind = Received::Kind::Arrived, .message = decode(std::string_view(bytes).substr(kLengthBytes))};
}

std::pair<FileDescriptor, FileDescriptor> Connection::make_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno(errno, "making a socket pair");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

}  // namespace crs::wire
