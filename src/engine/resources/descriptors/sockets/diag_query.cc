#include "engine/resources/descriptors/sockets/diag_query.h"

#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"

namespace crs::engine {
namespace {

constexpr std::size_t kBuffer = std::size_t{64} << 10;

void send_request(int socket, std::span<const std::byte> request, std::string_view what) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<__u32>(NLMSG_LENGTH(request.size()));
  header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::vector<std::byte> message(NLMSG_SPACE(request.size()));
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + NLMSG_HDRLEN, request.data(), request.size());
  if (::send(socket, message.data(), message.size(), 0) < 0) fail_errno(errno, "cannot ask the kernel for {}", what);
}

}  // namespace

void ask_sock_diag(std::span<const std::byte> request, std::string_view what,
                   const std::function<void(std::span<const std::byte>)>& take) {
  const FileDescriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket) fail_errno(errno, "cannot ask the kernel for {}", what);
  send_request(socket.get(), request, what);
  alignas(nlmsghdr) static thread_local std::array<std::byte, kBuffer> buffer;
  while (true) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0) fail_errno(errno, "cannot ask the kernel for {}", what);
    auto left = static_cast<std::size_t>(got);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      const std::span payload(reinterpret_cast<const std::byte*>(NLMSG_DATA(header)), NLMSG_PAYLOAD(header, 0));
      if (header->nlmsg_type == NLMSG_DONE) return;
      if (header->nlmsg_type == NLMSG_ERROR) {
        const int problem =
            payload.size() < sizeof(int) ? EIO : -reinterpret_cast<const nlmsgerr*>(payload.data())->error;
        fail_errno(problem, "this kernel does not tell of {} (sock_diag)", what);
      }
      take(payload);
    }
  }
}

}  // namespace crs::engine
