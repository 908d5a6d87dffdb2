#include "engine/newborn/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::size_t kLongestMessage = 65536;
constexpr char kErrorReport = 'E';

bool wait_readable(int descriptor, int seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd wanted{descriptor, POLLIN, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::max<long>(left, 0)));
    if (ready >= 0) return ready > 0;
    if (errno != EINTR) fail_errno(errno, "waiting for a new process");
  }
}

pid_t sender_of(msghdr& header) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS) continue;
    ucred credentials{};
    std::memcpy(&credentials, CMSG_DATA(control), sizeof credentials);
    return credentials.pid;
  }
  return 0;
}

}  // namespace

std::pair<Channel, Channel> Channel::make() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    fail_errno(errno, "cannot make a channel");
  std::pair<Channel, Channel> result{Channel(FileDescriptor(ends[0])), Channel(FileDescriptor(ends[1]))};
  const int on = 1;
  for (const int end : ends) {
    if (::setsockopt(end, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) fail_errno(errno, "cannot make a channel");
  }
  return result;
}

void Channel::send(char kind, std::string_view text) const {
  std::string message(1, kind);
  message += text.substr(0, kLongestMessage - 1);
  if (::send(end_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0)
    fail_errno(errno, "cannot reach the restart command");
}

Channel::Message Channel::receive(int seconds) const {
  if (!wait_readable(end_.get(), seconds)) fail(ErrorKind::Failed, "a new process did not answer within {} s", seconds);
  std::vector<char> bytes(kLongestMessage);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
  iovec vector{bytes.data(), bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(end_.get(), &header, MSG_CMSG_CLOEXEC);
  if (got < 0) fail_errno(errno, "cannot hear from a new process");
  if (got == 0) fail(ErrorKind::Failed, "a new process ended before it was ready");
  Message message{bytes[0], sender_of(header), std::string(bytes.data() + 1, static_cast<std::size_t>(got) - 1)};
  if (message.kind == kErrorReport) throw Error::decode(message.text);
  return message;
}

void Channel::send_error(const std::exception& error) const noexcept {
  try {
    const auto* const known = dynamic_cast<const Error*>(&error);
    send(kErrorReport, known != nullptr ? known->encode() : Error(ErrorKind::Failed, error.what()).encode());
  } catch (const std::exception&) {  // nobody listens any more: the other end sees this process end
  }
}

void Channel::move_above(int lowest) { end_ = duplicate_above(end_.get(), lowest); }

}  // namespace crs::engine
