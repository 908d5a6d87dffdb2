#include "engine/resources/descriptors/refused.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "engine/resources/descriptors/files/identity.h"
#include "engine/resources/descriptors/sockets/own_network.h"

namespace crs::engine {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kAnonymous{{
    {"[io_uring]", "an io_uring instance, of which the kernel shows neither how it was set up nor what is under way"},
    {"[userfaultfd]", "a userfaultfd (memory handled by the program itself)"},
    {"[perf_event]", "a performance counter"},
    {"inotify", "an inotify instance"},
    {"[fanotify]", "a fanotify instance"},
    {"bpf-map", "a BPF map"},
    {"bpf-prog", "a BPF program"},
    {"bpf_link", "a BPF link"},
    {"btf", "BPF type data"},
    {"kvm-vm", "a KVM virtual machine"},
    {"kvm-vcpu:0", "a KVM processor"},
    {"[pidfd]", "a pidfd of another process"},
    {"[landlock-ruleset]", "a Landlock rule set"},
    {"[fscontext]", "a file system that is being configured"},
    {"seccomp notify", "a seccomp notification listener"},
    {"[io_uring-worker]", "an io_uring worker"},
}};

template <typename T>
std::optional<T> option_of(int socket, int level, int name) {
  T value{};
  socklen_t size = sizeof value;
  if (::getsockopt(socket, level, name, &value, &size) != 0) return std::nullopt;
  return value;
}

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

std::string words_for_unix(const Address& address) {
  constexpr std::size_t kStart = offsetof(sockaddr_un, sun_path);
  if (address.size <= kStart) return {};
  const auto& unix_address = reinterpret_cast<const sockaddr_un&>(address.bytes);
  const std::size_t length = address.size - kStart;
  if (unix_address.sun_path[0] == '\0') return "@" + std::string(unix_address.sun_path + 1, length - 1);
  return {unix_address.sun_path, ::strnlen(unix_address.sun_path, length)};
}

std::string words_for(const Address& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.size == 0) return {};
  if (address.bytes.ss_family == AF_UNIX) return words_for_unix(address);
  if (address.bytes.ss_family == AF_INET) {
    const auto& inet = reinterpret_cast<const sockaddr_in&>(address.bytes);
    ::inet_ntop(AF_INET, &inet.sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(inet.sin_port));
  }
  if (address.bytes.ss_family == AF_INET6) {
    const auto& inet = reinterpret_cast<const sockaddr_in6&>(address.bytes);
    ::inet_ntop(AF_INET6, &inet.sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(inet.sin6_port));
  }
  return {};
}

template <typename Ask>
std::string address_by(Ask ask, int socket) {
  Address address;
  socklen_t size = sizeof address.bytes;
  if (ask(socket, reinterpret_cast<sockaddr*>(&address.bytes), &size) == 0) address.size = size;
  return words_for(address);
}

std::string describe_family(int socket, int family, int type) {
  if (family == AF_NETLINK) return "a netlink socket";
  if (family == AF_PACKET) return "a packet socket";
  if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
    return fmt::format("a socket of address family {}", family);
  const std::string_view kind = type == SOCK_STREAM      ? "stream"
                                : type == SOCK_DGRAM     ? "datagram"
                                : type == SOCK_SEQPACKET ? "packet"
                                                         : "raw";
  if (family == AF_UNIX) return fmt::format("a unix {} socket", kind);
  if (type == SOCK_DGRAM) return "a UDP socket";
  if (type != SOCK_STREAM) return "a raw internet socket";
  const auto info = option_of<tcp_info>(socket, IPPROTO_TCP, TCP_INFO);
  if (!info) return "an internet stream socket";
  if (info->tcpi_state == TCP_LISTEN) return "a listening TCP socket";
  return info->tcpi_state == TCP_ESTABLISHED ? "an established TCP connection" : "a TCP socket";
}

std::string describe_socket(int socket) {
  const int family = option_of<int>(socket, SOL_SOCKET, SO_DOMAIN).value_or(AF_UNSPEC);
  const int type = option_of<int>(socket, SOL_SOCKET, SO_TYPE).value_or(0);
  std::string text = describe_family(socket, family, type);
  if (family == AF_UNIX && option_of<int>(socket, SOL_SOCKET, SO_ACCEPTCONN).value_or(0) != 0) text += " that listens";
  const std::string own = address_by(::getsockname, socket);
  const std::string peer = address_by(::getpeername, socket);
  if (!own.empty()) text += " " + own;
  if (!peer.empty()) text += " -> " + peer;
  if (!OwnNetwork().has(socket)) return text + " of another network namespace";
  sockaddr_storage unused{};
  socklen_t size = sizeof unused;
  // Connected, and not to a socket of the program's own: those are kept.
  if (family == AF_UNIX && ::getpeername(socket, reinterpret_cast<sockaddr*>(&unused), &size) == 0)
    text += " whose other end is in another process";
  return text;
}

std::string describe_device(const Seen& seen) {
  const bool block = S_ISBLK(seen.status.st_mode);
  if (!block && major(seen.status.st_rdev) == 5 && minor(seen.status.st_rdev) == 2)
    return fmt::format("the master of a pseudo-terminal ({})", seen.link);
  if (!block && ::isatty(seen.copy.get()) != 0)
    return fmt::format("terminal {}, which is none of the program's standard streams", seen.link);
  return fmt::format("the {} device {}, which has a state of its own", block ? "block" : "character", seen.link);
}

std::string describe_file(const Seen& seen) {
  if (S_ISDIR(seen.status.st_mode))
    return fmt::format("a directory that its path does not reach (removed?): {}", seen.link);
  if (const auto reason = content_cannot_be_kept(seen.copy.get(), seen.link))
    return fmt::format("{}: {}", *reason, seen.link);
  return fmt::format("{}, a file that its path does not reach from here (another mount namespace, or a mount above it)",
                     seen.link);
}

std::string_view name_of_type(mode_t mode) {
  if (S_ISREG(mode)) return "a file";
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISLNK(mode)) return "a symbolic link";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "a kernel object";
}

std::string describe_place(const Seen& seen) {
  const std::string_view type = name_of_type(seen.status.st_mode);
  if (!seen.link.starts_with('/')) return fmt::format("the place (O_PATH) of {} without a path: {}", type, seen.link);
  return fmt::format("the place (O_PATH) of {} that its path does not reach: {}", type, seen.link);
}

}  // namespace

std::string describe_refused(const Seen& seen) {
  if (seen.is_path_only()) return describe_place(seen);
  constexpr std::string_view kPrefix = "anon_inode:";
  if (seen.link.starts_with(kPrefix)) {
    const std::string_view name = std::string_view(seen.link).substr(kPrefix.size());
    for (const auto& [known, words] : kAnonymous) {
      if (known == name) return std::string(words);
    }
    return fmt::format("a kernel object of kind {}", name);
  }
  if (seen.link.starts_with("pidfd:")) return "a pidfd of another process";
  if (S_ISSOCK(seen.status.st_mode)) return describe_socket(seen.copy.get());
  if (S_ISFIFO(seen.status.st_mode)) {
    const bool is_fifo = seen.link.starts_with('/');
    const bool may_await = is_fifo && seen.reads() && seen.status.st_nlink == 0;
    return fmt::format("the {} end of {} {}, whose other end is in another process{}",
                       seen.reads() ? "reading" : "writing", is_fifo ? "FIFO" : "pipe", seen.link,
                       may_await ? ", or which is unlinked and waits for its first writer still" : "");
  }
  if (S_ISCHR(seen.status.st_mode) || S_ISBLK(seen.status.st_mode)) return describe_device(seen);
  if (seen.link.find(":[") != std::string::npos && !seen.link.starts_with('/'))
    return fmt::format("a namespace ({})", seen.link);
  return describe_file(seen);
}

}  // namespace crs::engine
