#include "engine/resources/descriptors/unix_sockets/queue.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "engine/resources/descriptors/sockets/peek_position.h"

namespace crs::engine {
namespace {

constexpr std::size_t kMostDescriptors = 253;  // SCM_MAX_FD, unix(7)
constexpr std::size_t kFirstBuffer = std::size_t{256} << 10;

struct Peeked {
  QueuedMessage message;
  bool is_whole = true;  // the buffer was large enough
};

void take_control(msghdr& header, QueuedMessage& message) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET) continue;
    constexpr int kPidfd = 0x04;  // SCM_PIDFD, since Linux 6.5
    const std::size_t bytes = control->cmsg_len - CMSG_LEN(0);
    if (control->cmsg_type == SCM_CREDENTIALS && bytes == sizeof(ucred)) {
      std::memcpy(&message.credentials.emplace(), CMSG_DATA(control), sizeof(ucred));
    } else if (control->cmsg_type == SCM_RIGHTS || control->cmsg_type == kPidfd) {
      std::vector<int> numbers(bytes / sizeof(int));
      std::copy_n(CMSG_DATA(control), numbers.size() * sizeof(int), reinterpret_cast<unsigned char*>(numbers.data()));
      for (const int number : numbers) {
        FileDescriptor owned(number);
        if (control->cmsg_type == SCM_RIGHTS) message.descriptors.push_back(std::move(owned));
      }
    }
  }
}

// A stop of the program in recvmmsg(2) that had received something leaves the kernel's own code for "make the call
// again" behind, as an error of the socket that whoever receives next is told, once (do_recvmmsg() in net/socket.c).
ssize_t receive(int socket, msghdr& header, int flags) {
  constexpr int kFirstRestartCode = 512;  // ERESTARTSYS; include/linux/errno.h
  constexpr int kLastRestartCode = 516;   // ERESTART_RESTARTBLOCK
  const ssize_t got = ::recvmsg(socket, &header, flags);
  if (got >= 0 || errno < kFirstRestartCode || errno > kLastRestartCode) return got;
  return ::recvmsg(socket, &header, flags);
}

// Nothing if nothing is there.
std::optional<Peeked> peek(int socket, std::size_t most, std::string_view name) {
  Peeked peeked;
  peeked.message.data.resize(most);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int)) + 4 * CMSG_SPACE(sizeof(ucred)) + 256>
      control{};
  sockaddr_un sender{};
  iovec vector{peeked.message.data.data(), most};
  msghdr header{};
  header.msg_name = &sender;
  header.msg_namelen = sizeof sender;
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = receive(socket, header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && errno == EAGAIN) return std::nullopt;
  if (got < 0) fail_errno(errno, "cannot look at the unread data of {}", name);
  take_control(header, peeked.message);
  peeked.message.data.resize(static_cast<std::size_t>(got));
  peeked.message.sender = sun_path_of(sender, header.msg_namelen);
  peeked.is_whole = (header.msg_flags & MSG_TRUNC) == 0;
  return peeked;
}

std::size_t bytes_waiting(int socket, std::string_view name) {
  int bytes = 0;
  if (::ioctl(socket, SIOCINQ, &bytes) != 0) fail_errno(errno, "cannot ask {} for its unread data", name);
  return static_cast<std::size_t>(bytes);
}

// A look at a stream ends with the first stretch that carries descriptors. At which of these bytes does that begin?
// The kernel gives out what comes in one piece as a whole or, where a part of it cannot be written, not at all
// (unix_stream_read_generic() in af_unix.c): so there is no room for the last byte.
std::size_t start_of_stretch(int socket, std::size_t bytes, std::string_view name) {
  std::string buffer(bytes, '\0');
  std::array<iovec, 2> vectors{iovec{buffer.data(), bytes - 1}, iovec{nullptr, 1}};
  msghdr header{};
  header.msg_iov = vectors.data();
  header.msg_iovlen = vectors.size();
  const ssize_t got = receive(socket, header, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno != EFAULT) fail_errno(errno, "cannot look at the unread data of {}", name);
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

std::vector<QueuedMessage> look_at_stream(int socket, std::string_view name) {
  const std::size_t total = bytes_waiting(socket, name);
  std::vector<QueuedMessage> messages;
  PeekPosition position(socket, name);
  for (std::size_t offset = 0; offset < total;) {
    const auto look_from_offset = [&] { offset == 0 ? position.rewind() : position.set(offset); };
    look_from_offset();
    std::optional<Peeked> peeked = peek(socket, total - offset, name);
    if (!peeked || peeked->message.data.empty()) {
      throw Error(ErrorKind::Refused,
                  fmt::format("{} has unread data that cannot be looked at: urgent data (MSG_OOB)", name))
          .advise("Let the program read it first");
    }
    QueuedMessage& message = peeked->message;
    message.sender.clear();
    const std::size_t bytes = message.data.size();
    look_from_offset();
    const std::size_t before = message.descriptors.empty() ? 0 : start_of_stretch(socket, bytes, name);
    if (before > 0) {
      messages.push_back({message.data.substr(0, before), {}, {}, message.credentials});
      message.data.erase(0, before);
    }
    messages.push_back(std::move(message));
    offset += bytes;
  }
  return messages;
}

// An empty packet is skipped by a look that begins behind it, and one at the end of a connection that is shut down
// looks like that end.
bool is_end(const Peeked& peeked, int type, std::size_t offset, std::size_t total) {
  return type == SOCK_SEQPACKET && peeked.message.data.empty() && peeked.message.sender.empty() && offset >= total;
}

std::vector<QueuedMessage> look_at_packets(int socket, int type, std::string_view name) {
  const std::size_t total = type == SOCK_SEQPACKET ? bytes_waiting(socket, name) : 0;
  std::vector<QueuedMessage> messages;
  PeekPosition position(socket, name);
  std::size_t buffer = kFirstBuffer;
  for (std::size_t offset = 0;;) {
    // The first look needs no position, and finds an empty datagram that was looked at before.
    if (messages.empty()) {
      position.rewind();
    } else {
      position.set(offset);
    }
    std::optional<Peeked> peeked = peek(socket, buffer, name);
    if (!peeked || is_end(*peeked, type, offset, total)) return messages;
    if (!peeked->is_whole) {
      buffer *= 2;
      continue;
    }
    offset += peeked->message.data.size();
    messages.push_back(std::move(peeked->message));
  }
}

// What goes with a message besides its data (cmsg(3)).
class Control {
 public:
  Control(std::span<const int> descriptors, const image::UnixMessage* credentials) {
    if (!descriptors.empty()) add(SCM_RIGHTS, descriptors.data(), descriptors.size_bytes());
    if (credentials == nullptr) return;
    const ucred sender{credentials->process(), credentials->user(), credentials->group()};
    add(SCM_CREDENTIALS, &sender, sizeof sender);
  }
  void put_into(msghdr& header) const {
    header.msg_control = used_ == 0 ? nullptr : const_cast<std::byte*>(bytes_.data());
    header.msg_controllen = used_;
  }

 private:
  void add(int type, const void* value, std::size_t size) {
    cmsghdr part{};
    part.cmsg_level = SOL_SOCKET;
    part.cmsg_type = type;
    part.cmsg_len = CMSG_LEN(size);
    std::memcpy(bytes_.data() + used_, &part, sizeof part);
    std::memcpy(bytes_.data() + used_ + CMSG_LEN(0), value, size);
    used_ += CMSG_SPACE(size);
  }

  alignas(
      cmsghdr) std::array<std::byte, CMSG_SPACE(kMostDescriptors * sizeof(int)) + CMSG_SPACE(sizeof(ucred))> bytes_{};
  std::size_t used_ = 0;
};

ssize_t send_with(int sender, const std::string& data, const Control& control, std::string_view receiver) {
  UnixAddress address(receiver);
  iovec vector{const_cast<char*>(data.data()), data.size()};
  msghdr header{};
  header.msg_name = receiver.empty() ? nullptr : &address.bytes;
  header.msg_namelen = receiver.empty() ? 0 : address.size;
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.put_into(header);
  return ::sendmsg(sender, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

std::vector<QueuedMessage> look_at_queue(int socket, int type, std::string_view name) {
  return type == SOCK_STREAM ? look_at_stream(socket, name) : look_at_packets(socket, type, name);
}

std::string sun_path_of(const sockaddr_un& address, socklen_t size) {
  constexpr std::size_t kStart = offsetof(sockaddr_un, sun_path);
  if (size <= kStart) return {};
  std::string path(address.sun_path, std::min<std::size_t>(size - kStart, sizeof address.sun_path));
  if (path.front() != '\0') path.resize(::strnlen(path.data(), path.size()));
  return path;
}

UnixAddress::UnixAddress(std::string_view sun_path) {
  bytes.sun_family = AF_UNIX;
  const std::size_t length = sun_path.copy(bytes.sun_path, sizeof bytes.sun_path);
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  const bool is_path = !sun_path.empty() && sun_path.front() != '\0';
  if (is_path && length < sizeof bytes.sun_path) ++size;  // the zero byte
}

bool send_again(int sender, const image::UnixMessage& message, std::span<const int> descriptors,
                std::string_view receiver) {
  const std::string& data = message.data();
  const Control with_all(descriptors, message.has_credentials() ? &message : nullptr);
  ssize_t put = send_with(sender, data, with_all, receiver);
  const bool exact = put >= 0 || !message.has_credentials() || (errno != EPERM && errno != ESRCH);
  if (!exact) put = send_with(sender, data, Control(descriptors, nullptr), receiver);
  while (put >= 0 && static_cast<std::size_t>(put) < data.size()) {  // only a stream takes less
    const ssize_t more =
        ::send(sender, data.data() + put, data.size() - static_cast<std::size_t>(put), MSG_DONTWAIT | MSG_NOSIGNAL);
    put = more < 0 ? more : put + more;
  }
  if (put < 0) fail_errno(errno, "cannot put unread data back into a unix socket");
  return exact;
}

}  // namespace crs::engine
