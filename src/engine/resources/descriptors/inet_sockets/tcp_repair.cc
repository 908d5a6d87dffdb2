#include "engine/resources/descriptors/inet_sockets/tcp_repair.h"

// In front of the C library's header, which has an older part of the same names.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "base/error.h"
#include "engine/resources/descriptors/sockets/peek_position.h"

namespace crs::engine {
namespace {

// The values of TCP_REPAIR_QUEUE, of connection states and of option codes: in the kernel's own headers only
// (net/tcp_states.h, net/tcp.h).
constexpr int kReceiveQueue = 1;
constexpr int kSendQueue = 2;
constexpr std::uint32_t kFinWait1 = 4;
constexpr std::uint32_t kFinWait2 = 5;
constexpr std::uint32_t kMaximumSegment = 2;
constexpr std::uint32_t kWindowScale = 3;
constexpr std::uint32_t kSelectiveAcknowledgements = 4;
constexpr std::uint32_t kTimestamps = 8;

template <typename T>
T option_of(int socket, int name, std::string_view what) {
  T value{};
  socklen_t size = sizeof value;
  if (::getsockopt(socket, IPPROTO_TCP, name, &value, &size) != 0)
    fail_errno(errno, "cannot read {} of a TCP connection", what);
  return value;
}

template <typename T>
void set_option(int socket, int name, const T& value, std::string_view what) {
  if (::setsockopt(socket, IPPROTO_TCP, name, &value, sizeof value) != 0)
    fail_errno(errno, "cannot set {} of a TCP connection", what);
}

void choose_queue(int socket, int queue) { set_option(socket, TCP_REPAIR_QUEUE, queue, "the queue"); }

std::uint32_t bytes_in(int socket, unsigned long request) {
  int bytes = 0;
  if (::ioctl(socket, request, &bytes) != 0) fail_errno(errno, "cannot look at a TCP connection's queue");
  return static_cast<std::uint32_t>(std::max(bytes, 0));
}

struct Sequences {
  std::uint32_t state = 0;
  std::uint32_t received = 0;  // the next byte that is expected
  std::uint32_t written = 0;   // the next byte that will be written
  std::uint32_t unread = 0;    // bytes
  std::uint32_t unacknowledged = 0;
  bool operator==(const Sequences&) const = default;
};

// Without the mark of the end of writing, which takes a place of its own.
Sequences sequences_of(int socket) {
  Sequences all;
  all.state = option_of<tcp_info>(socket, TCP_INFO, "the state").tcpi_state;
  choose_queue(socket, kReceiveQueue);
  all.received = option_of<std::uint32_t>(socket, TCP_QUEUE_SEQ, "the sequence");
  choose_queue(socket, kSendQueue);
  all.written = option_of<std::uint32_t>(socket, TCP_QUEUE_SEQ, "the sequence");
  all.unread = bytes_in(socket, SIOCINQ);
  all.unacknowledged = bytes_in(socket, SIOCOUTQ);
  const bool ended = all.state == kFinWait1 || all.state == kFinWait2;
  if (ended) --all.written;
  if (all.state == kFinWait1 && all.unacknowledged > 0) --all.unacknowledged;
  return all;
}

std::string look_into(int socket, int queue, std::size_t bytes) {
  if (bytes == 0) return {};
  choose_queue(socket, queue);
  std::string data(bytes, '\0');
  const ssize_t got = ::recv(socket, data.data(), data.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) fail_errno(errno, "cannot look at the queues of a TCP connection");
  data.resize(static_cast<std::size_t>(got));
  return data;
}

void record_options(int socket, image::TcpConnection& connection) {
  const auto info = option_of<tcp_info>(socket, TCP_INFO, "the options");
  connection.set_state(info.tcpi_state);
  connection.set_maximum_segment(option_of<std::uint32_t>(socket, TCP_MAXSEG, "the segment size"));
  connection.set_scales_windows((info.tcpi_options & TCPI_OPT_WSCALE) != 0);
  connection.set_send_scale(info.tcpi_snd_wscale);
  connection.set_receive_scale(info.tcpi_rcv_wscale);
  connection.set_selective_acknowledgements((info.tcpi_options & TCPI_OPT_SACK) != 0);
  connection.set_timestamps((info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0);
  if (connection.timestamps())
    connection.set_timestamp(option_of<std::uint32_t>(socket, TCP_TIMESTAMP, "the timestamp"));
  const auto window = option_of<tcp_repair_window>(socket, TCP_REPAIR_WINDOW, "the window");
  connection.set_window_update(window.snd_wl1);
  connection.set_send_window(window.snd_wnd);
  connection.set_largest_window(window.max_window);
  connection.set_receive_window(window.rcv_wnd);
  connection.set_receive_window_update(window.rcv_wup);
}

// Data that seems to have been received, or sent, already.
void put_back(int socket, int queue, std::string_view data) {
  constexpr std::size_t kPiece = 16384;  // what is received is one buffer of the kernel's for each call
  choose_queue(socket, queue);
  while (!data.empty()) {
    const ssize_t put = ::send(socket, data.data(), std::min(data.size(), kPiece), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put <= 0) {
      const int error = put < 0 ? errno : ENOBUFS;
      throw Error::from_errno(fmt::format("cannot put {} bytes back into a TCP connection", data.size()), error)
          .advise("Restart it as root, or raise net.core.wmem_max and net.core.rmem_max");
    }
    data.remove_prefix(static_cast<std::size_t>(put));
  }
}

void widen_buffers(int socket) {
  constexpr int kMuch = INT_MAX / 4;
  // Without the right to any size (CAP_NET_ADMIN in the first user namespace), as far as net.core.*mem_max allow.
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &kMuch, sizeof kMuch) != 0)
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kMuch, sizeof kMuch);
  if (::setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &kMuch, sizeof kMuch) != 0)
    ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &kMuch, sizeof kMuch);
}

void set_options(int socket, const image::TcpConnection& connection) {
  std::vector<tcp_repair_opt> options{{kMaximumSegment, connection.maximum_segment()}};
  if (connection.scales_windows())
    options.push_back({kWindowScale, connection.send_scale() | (connection.receive_scale() << 16U)});
  if (connection.selective_acknowledgements()) options.push_back({kSelectiveAcknowledgements, 0});
  if (connection.timestamps()) options.push_back({kTimestamps, 0});
  if (::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(),
                   static_cast<socklen_t>(options.size() * sizeof(tcp_repair_opt))) != 0)
    fail_errno(errno, "cannot set the options of a TCP connection");
  if (connection.timestamps()) set_option(socket, TCP_TIMESTAMP, connection.timestamp(), "the timestamp");
}

void bind_and_connect(int socket, const InetAddress& local, const InetAddress& remote) {
  if (::bind(socket, local.get(), local.size()) != 0) {
    const int error = errno;
    throw Error::from_errno(fmt::format("the program's address {} cannot be had", local.words()), error)
        .advise("Restart it where the address exists and nobody else has the connection");
  }
  if (::connect(socket, remote.get(), remote.size()) != 0) {
    const int error = errno;
    throw Error::from_errno(fmt::format("the connection from {} to {} cannot be had", local.words(), remote.words()),
                            error)
        .advise("Perhaps the program itself still runs and has it");
  }
}

}  // namespace

void begin_repair(int socket) {
  constexpr int kOn = TCP_REPAIR_ON;
  if (::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &kOn, sizeof kOn) != 0) {
    const int error = errno;
    throw Error::from_errno("a TCP connection to another program cannot be kept", error)
        .advise("That takes CAP_NET_ADMIN: be root in its network namespace, or give --tcp reset");
  }
}

void end_repair_silently(int socket) {
  constexpr int kOff = TCP_REPAIR_OFF_NO_WP;
  ::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &kOff, sizeof kOff);
}

void end_repair_with_probe(int socket) {
  constexpr int kOff = TCP_REPAIR_OFF;
  ::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &kOff, sizeof kOff);
}

std::vector<sock_filter> packet_filter_of(int socket) {
  socklen_t count = 0;  // in instructions
  if (::getsockopt(socket, SOL_SOCKET, SO_GET_FILTER, nullptr, &count) != 0 || count == 0) return {};
  std::vector<sock_filter> filter(count);
  if (::getsockopt(socket, SOL_SOCKET, SO_GET_FILTER, filter.data(), &count) != 0)
    fail_errno(errno, "cannot read the packet filter of a TCP connection");
  return filter;
}

void set_packet_filter(int socket, std::span<const sock_filter> filter) {
  constexpr int kUnused = 0;
  if (filter.empty()) {
    ::setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &kUnused, sizeof kUnused);
    return;
  }
  const sock_fprog program{static_cast<unsigned short>(filter.size()), const_cast<sock_filter*>(filter.data())};
  if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    fail_errno(errno, "cannot set the packet filter of a TCP connection");
}

void drop_all_packets(int socket) {
  constexpr std::array<sock_filter, 1> kNothing{{{BPF_RET | BPF_K, 0, 0, 0}}};
  set_packet_filter(socket, kNothing);
}

// Until nothing has moved meanwhile: what is on its way may still arrive.
void read_connection(int socket, image::TcpConnection& connection, std::string& unread) {
  constexpr int kAttempts = 1000;
  PeekPosition peek(socket, "a TCP connection");
  peek.rewind();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const Sequences before = sequences_of(socket);
    unread = look_into(socket, kReceiveQueue, before.unread);
    connection.set_unacknowledged(look_into(socket, kSendQueue, before.unacknowledged));
    record_options(socket, connection);
    connection.set_receive_sequence(before.received);
    connection.set_send_sequence(before.written);
    const bool whole = unread.size() == before.unread && connection.unacknowledged().size() == before.unacknowledged;
    if (whole && before == sequences_of(socket)) return;
  }
  fail(ErrorKind::Failed, "a TCP connection to another program does not come to rest");
}

bool has_state(int socket, const image::TcpConnection& connection, std::size_t unread_bytes) {
  const Sequences now = sequences_of(socket);
  return now == Sequences{connection.state(), connection.receive_sequence(), connection.send_sequence(),
                          static_cast<std::uint32_t>(unread_bytes),
                          static_cast<std::uint32_t>(connection.unacknowledged().size())};
}

void make_connection(int socket, const InetAddress& local, const InetAddress& remote,
                     const image::TcpConnection& connection, std::string_view unread) {
  widen_buffers(socket);
  drop_all_packets(socket);
  choose_queue(socket, kReceiveQueue);
  set_option(socket, TCP_QUEUE_SEQ, connection.receive_sequence() - static_cast<std::uint32_t>(unread.size()),
             "the sequence");
  choose_queue(socket, kSendQueue);
  set_option(socket, TCP_QUEUE_SEQ,
             connection.send_sequence() - static_cast<std::uint32_t>(connection.unacknowledged().size()),
             "the sequence");
  bind_and_connect(socket, local, remote);
  set_options(socket, connection);
  put_back(socket, kReceiveQueue, unread);
  // What had not been sent yet counts as lost on its way: it is sent again when it is time.
  put_back(socket, kSendQueue, connection.unacknowledged());
  const tcp_repair_window window{connection.window_update(), connection.send_window(), connection.largest_window(),
                                 connection.receive_window(), connection.receive_window_update()};
  set_option(socket, TCP_REPAIR_WINDOW, window, "the window");
}

}  // namespace crs::engine
