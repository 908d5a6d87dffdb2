#include "engine/resources/descriptors/sockets/settings.h"

#include <linux/filter.h>
#include <linux/in6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

// Not in every C library's headers yet.
constexpr int kPassPidfd = 76;        // SO_PASSPIDFD, since Linux 6.5
constexpr int kPassRights = 83;       // SO_PASSRIGHTS, since Linux 6.16
constexpr int kReceivePriority = 82;  // SO_RCVPRIORITY, since Linux 6.14
constexpr int kBufferLock = 72;       // SO_BUF_LOCK, since Linux 5.14
constexpr int kTxRehash = 74;         // SO_TXREHASH, since Linux 5.19
constexpr int kReceiveMark = 75;      // SO_RCVMARK, since Linux 5.19

struct Option {
  int level;
  int name;
  std::string_view words;
  SettingStage stage = SettingStage::Finally;
  bool of_multicasts = false;
};

constexpr SettingStage kEarly = SettingStage::BeforeBinding;
constexpr SettingStage kFinally = SettingStage::Finally;
constexpr bool kOfMulticasts = true;
constexpr std::size_t kLongestOption = 64;

constexpr std::array kOptions{
    // socket(7)
    Option{SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR", kEarly},
    Option{SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT", kEarly},
    Option{SOL_SOCKET, SO_BINDTODEVICE, "SO_BINDTODEVICE", kEarly},
    Option{SOL_SOCKET, SO_MARK, "SO_MARK", kEarly},
    Option{SOL_SOCKET, SO_DEBUG, "SO_DEBUG"},
    Option{SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"},
    Option{SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"},
    Option{SOL_SOCKET, SO_DONTROUTE, "SO_DONTROUTE"},
    Option{SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"},
    Option{SOL_SOCKET, SO_NO_CHECK, "SO_NO_CHECK"},
    Option{SOL_SOCKET, SO_PRIORITY, "SO_PRIORITY"},
    Option{SOL_SOCKET, SO_LINGER, "SO_LINGER"},
    Option{SOL_SOCKET, SO_RCVTIMEO, "SO_RCVTIMEO"},
    Option{SOL_SOCKET, SO_SNDTIMEO, "SO_SNDTIMEO"},
    Option{SOL_SOCKET, SO_RCVLOWAT, "SO_RCVLOWAT"},
    Option{SOL_SOCKET, SO_PASSCRED, "SO_PASSCRED"},
    Option{SOL_SOCKET, SO_PASSSEC, "SO_PASSSEC"},
    Option{SOL_SOCKET, kPassPidfd, "SO_PASSPIDFD"},
    Option{SOL_SOCKET, kPassRights, "SO_PASSRIGHTS"},
    Option{SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP"},
    Option{SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS"},
    Option{SOL_SOCKET, SO_TIMESTAMPING, "SO_TIMESTAMPING"},
    Option{SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL"},
    Option{SOL_SOCKET, kReceiveMark, "SO_RCVMARK"},
    Option{SOL_SOCKET, kReceivePriority, "SO_RCVPRIORITY"},
    Option{SOL_SOCKET, SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE"},
    Option{SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL"},
    Option{SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE"},
    Option{SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY"},
    Option{SOL_SOCKET, SO_TXTIME, "SO_TXTIME"},
    Option{SOL_SOCKET, kTxRehash, "SO_TXREHASH"},
    Option{SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF"},
    // ip(7)
    Option{IPPROTO_IP, IP_FREEBIND, "IP_FREEBIND", kEarly},
    Option{IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT", kEarly},
    Option{IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT", kEarly},
    Option{IPPROTO_IP, IP_TOS, "IP_TOS"},
    Option{IPPROTO_IP, IP_TTL, "IP_TTL"},
    Option{IPPROTO_IP, IP_MINTTL, "IP_MINTTL"},
    Option{IPPROTO_IP, IP_MTU_DISCOVER, "IP_MTU_DISCOVER"},
    Option{IPPROTO_IP, IP_RECVERR, "IP_RECVERR"},
    Option{IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO"},
    Option{IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL"},
    Option{IPPROTO_IP, IP_RECVTOS, "IP_RECVTOS"},
    Option{IPPROTO_IP, IP_RECVORIGDSTADDR, "IP_RECVORIGDSTADDR"},
    Option{IPPROTO_IP, IP_MULTICAST_TTL, "IP_MULTICAST_TTL", kFinally, kOfMulticasts},
    Option{IPPROTO_IP, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", kFinally, kOfMulticasts},
    // ipv6(7)
    Option{IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY", kEarly},
    Option{IPPROTO_IPV6, IPV6_FREEBIND, "IPV6_FREEBIND", kEarly},
    Option{IPPROTO_IPV6, IPV6_TRANSPARENT, "IPV6_TRANSPARENT", kEarly},
    Option{IPPROTO_IPV6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"},
    Option{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", kFinally, kOfMulticasts},
    Option{IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", kFinally, kOfMulticasts},
    Option{IPPROTO_IPV6, IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"},
    Option{IPPROTO_IPV6, IPV6_RECVERR, "IPV6_RECVERR"},
    Option{IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"},
    Option{IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"},
    Option{IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS"},
    Option{IPPROTO_IPV6, IPV6_TCLASS, "IPV6_TCLASS"},
    // tcp(7)
    Option{IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY"},
    Option{IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE"},
    Option{IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL"},
    Option{IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT"},
    Option{IPPROTO_TCP, TCP_SYNCNT, "TCP_SYNCNT"},
    Option{IPPROTO_TCP, TCP_LINGER2, "TCP_LINGER2"},
    Option{IPPROTO_TCP, TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"},
    Option{IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"},
    Option{IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"},
    Option{IPPROTO_TCP, TCP_CONGESTION, "TCP_CONGESTION"},
    Option{IPPROTO_TCP, TCP_FASTOPEN, "TCP_FASTOPEN"},
    Option{IPPROTO_TCP, TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT"},
    Option{IPPROTO_TCP, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"},
    Option{IPPROTO_TCP, TCP_SAVE_SYN, "TCP_SAVE_SYN"},
    Option{IPPROTO_TCP, TCP_INQ, "TCP_INQ"},
    // udp(7), linux/udp.h
    Option{IPPROTO_UDP, UDP_ENCAP, "UDP_ENCAP"},
    Option{IPPROTO_UDP, UDP_NO_CHECK6_TX, "UDP_NO_CHECK6_TX"},
    Option{IPPROTO_UDP, UDP_NO_CHECK6_RX, "UDP_NO_CHECK6_RX"},
    Option{IPPROTO_UDP, UDP_SEGMENT, "UDP_SEGMENT"},
    Option{IPPROTO_UDP, UDP_GRO, "UDP_GRO"},
    // Last: what is corked is not sent before it is uncorked.
    Option{IPPROTO_TCP, TCP_CORK, "TCP_CORK"},
    Option{IPPROTO_UDP, UDP_CORK, "UDP_CORK"},
};

// Nothing where this kind of socket does not have the option.
std::optional<std::string> value_of(int socket, const Option& option) {
  std::string value(kLongestOption, '\0');
  auto size = static_cast<socklen_t>(value.size());
  if (::getsockopt(socket, option.level, option.name, value.data(), &size) != 0) return std::nullopt;
  value.resize(std::min<std::size_t>(size, value.size()));
  return value;
}

std::optional<int> number_of(int socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket, SOL_SOCKET, name, &value, &size) != 0) return std::nullopt;
  return value;
}

// Of another family the same numbers may mean something else.
bool belongs_to(int socket, const Option& option) {
  if (option.level == SOL_SOCKET) return true;
  // An accepted connection shows its peer's TTL as its own for multicasts; no connection's can be set (ip(7): EINVAL).
  if (option.of_multicasts && number_of(socket, SO_TYPE) == SOCK_STREAM) return false;
  const int family = number_of(socket, SO_DOMAIN).value_or(AF_UNSPEC);
  const int protocol = number_of(socket, SO_PROTOCOL).value_or(0);
  if (option.level == IPPROTO_IPV6) return family == AF_INET6;
  const bool is_inet = family == AF_INET || family == AF_INET6;
  return is_inet && (option.level == IPPROTO_IP || option.level == protocol);
}

// getsockopt(2) of SO_GET_FILTER counts in filter instructions, and refuses filters of the newer kind (BPF).
void capture_filter(TableCapture& table, const Seen& seen, image::SocketSettings& settings) {
  socklen_t count = 0;
  if (::getsockopt(seen.copy.get(), SOL_SOCKET, SO_GET_FILTER, nullptr, &count) != 0) {
    if (errno == EACCES) table.refuse(seen, "a socket with a BPF program as its filter, which cannot be read");
    return;
  }
  if (count == 0) return;
  std::string filter(count * sizeof(sock_filter), '\0');
  if (::getsockopt(seen.copy.get(), SOL_SOCKET, SO_GET_FILTER, filter.data(), &count) != 0)
    fail_errno(errno, "cannot read the packet filter of {}", table.name_of(seen));
  settings.set_filter(filter);
}

// The kernel doubles what it is given (socket(7)).
void set_buffer(int socket, int name, int forced_name, std::uint32_t wanted, std::string_view words,
                std::string_view whose, std::vector<std::string>& notes) {
  if (number_of(socket, name) == static_cast<int>(wanted)) return;
  const int half = static_cast<int>(wanted / 2);
  if (::setsockopt(socket, SOL_SOCKET, forced_name, &half, sizeof half) != 0)
    ::setsockopt(socket, SOL_SOCKET, name, &half, sizeof half);
  const int now = number_of(socket, name).value_or(0);
  if (now < static_cast<int>(wanted))
    notes.push_back(
        fmt::format("{}: its {} buffer has {} bytes now instead of {} (limits: /proc/sys/net/core/*mem_max)", whose,
                    words, now, wanted));
}

void apply_buffers(int socket, const image::SocketSettings& settings, std::string_view name,
                   std::vector<std::string>& notes) {
  set_buffer(socket, SO_SNDBUF, SO_SNDBUFFORCE, settings.send_buffer(), "send", name, notes);
  set_buffer(socket, SO_RCVBUF, SO_RCVBUFFORCE, settings.receive_buffer(), "receive", name, notes);
  const auto locked = static_cast<int>(settings.locked_buffers());
  ::setsockopt(socket, SOL_SOCKET, kBufferLock, &locked, sizeof locked);
}

void apply_filter(int socket, const image::SocketSettings& settings, std::string_view name,
                  std::vector<std::string>& notes) {
  if (settings.filter().empty()) return;
  std::vector<sock_filter> filter(settings.filter().size() / sizeof(sock_filter));
  std::memcpy(filter.data(), settings.filter().data(), settings.filter().size());
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    notes.push_back(fmt::format("{}: its packet filter cannot be set again: {}", name, std::strerror(errno)));
}

void apply_option(int socket, const Option& option, const image::SocketSettings& settings, std::string_view name,
                  std::vector<std::string>& notes) {
  const std::optional<std::string> current = value_of(socket, option);
  if (!current || !belongs_to(socket, option)) return;
  std::string wanted(current->size(), '\0');
  for (const image::SocketOption& kept : settings.options()) {
    if (static_cast<int>(kept.level()) == option.level && static_cast<int>(kept.name()) == option.name)
      wanted = kept.value();
  }
  if (wanted == *current) return;
  if (::setsockopt(socket, option.level, option.name, wanted.data(), static_cast<socklen_t>(wanted.size())) == 0)
    return;
  // Binding to a definite address sets it (inet6_bind() in net/ipv6/af_inet6.c), and there it means nothing.
  const bool follows_address = option.level == IPPROTO_IPV6 && option.name == IPV6_V6ONLY && errno == EINVAL;
  if (!follows_address)
    notes.push_back(fmt::format("{}: its option {} cannot be set again: {}", name, option.words, std::strerror(errno)));
}

}  // namespace

void capture_settings(TableCapture& table, const Seen& seen, image::SocketSettings& settings) {
  const int socket = seen.copy.get();
  for (const Option& option : kOptions) {
    if (!belongs_to(socket, option)) continue;
    const std::optional<std::string> value = value_of(socket, option);
    if (!value || is_zero(as_byte_span(*value))) continue;
    image::SocketOption& kept = *settings.add_options();
    kept.set_level(static_cast<std::uint32_t>(option.level));
    kept.set_name(static_cast<std::uint32_t>(option.name));
    kept.set_value(*value);
  }
  settings.set_send_buffer(static_cast<std::uint32_t>(number_of(socket, SO_SNDBUF).value_or(0)));
  settings.set_receive_buffer(static_cast<std::uint32_t>(number_of(socket, SO_RCVBUF).value_or(0)));
  settings.set_locked_buffers(static_cast<std::uint32_t>(number_of(socket, kBufferLock).value_or(0)));
  capture_filter(table, seen, settings);
  if (number_of(socket, SO_LOCK_FILTER).value_or(0) != 0)
    table.refuse(seen, "a socket with a locked packet filter (SO_LOCK_FILTER)");
}

void check_settings(const image::SocketSettings& settings) {
  constexpr std::size_t kMostInstructions = 4096;  // BPF_MAXINSNS
  bool possible = settings.send_buffer() <= INT_MAX && settings.receive_buffer() <= INT_MAX &&
                  settings.locked_buffers() <= 3 && settings.filter().size() % sizeof(sock_filter) == 0 &&
                  settings.filter().size() <= kMostInstructions * sizeof(sock_filter);
  for (const image::SocketOption& option : settings.options()) {
    const auto known = std::ranges::find_if(kOptions, [&](const Option& one) {
      return one.level == static_cast<int>(option.level()) && one.name == static_cast<int>(option.name());
    });
    possible = possible && known != kOptions.end() && option.value().size() <= kLongestOption;
  }
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a socket with settings that cannot be");
}

void apply_settings(int socket, const image::SocketSettings& settings, SettingStage stage, std::string_view name,
                    std::vector<std::string>& notes) {
  for (const Option& option : kOptions) {
    if (option.stage == stage) apply_option(socket, option, settings, name, notes);
  }
  if (stage != SettingStage::Finally) return;
  apply_buffers(socket, settings, name, notes);
  apply_filter(socket, settings, name, notes);
}

void apply_buffer_sizes(int socket, const image::SocketSettings& settings, std::string_view name,
                        std::vector<std::string>& notes) {
  apply_buffers(socket, settings, name, notes);
}

void widen_send_buffer(int socket) {
  constexpr int kMuch = INT_MAX / 4;
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &kMuch, sizeof kMuch) != 0)
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kMuch, sizeof kMuch);
}

}  // namespace crs::engine
