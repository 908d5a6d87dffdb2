#include "engine/resources/descriptors/inet_sockets/ended_connections.h"

#include <linux/inet_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>

#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "engine/resources/descriptors/inet_sockets/inet_address.h"
#include "engine/resources/descriptors/sockets/diag_query.h"

namespace crs::engine {
namespace {

struct Ended {
  InetAddress local;
  InetAddress remote;
};

struct Found {
  std::vector<Ended> ended;
  std::set<std::uint16_t> listening;
};

void add(const inet_diag_msg& message, const std::set<std::uint16_t>& ports, Found& found) {
  const auto address_of = [&](const __be32* address, __be16 port) {
    return InetAddress::of_kernel(message.idiag_family, std::span<const std::uint32_t, 4>(address, 4), port);
  };
  const std::uint16_t port = ntohs(message.id.idiag_sport);
  if (!ports.contains(port)) return;
  if (message.idiag_state == TCP_LISTEN) found.listening.insert(port);
  if (message.idiag_state == TCP_TIME_WAIT)
    found.ended.push_back({address_of(message.id.idiag_src, message.id.idiag_sport),
                           address_of(message.id.idiag_dst, message.id.idiag_dport)});
}

void ask_for_sockets(int family, const std::set<std::uint16_t>& ports, Found& found) {
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<std::uint8_t>(family);
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = (1U << TCP_TIME_WAIT) | (1U << TCP_LISTEN);
  ask_sock_diag(std::as_bytes(std::span(&request, 1)), "TCP connections", [&](std::span<const std::byte> answer) {
    inet_diag_msg message{};
    if (answer.size() < sizeof message) return;
    std::memcpy(&message, answer.data(), sizeof message);
    add(message, ports, found);
  });
}

// Those at which nobody listens: whoever does would be given a connection.
std::vector<Ended> ended_at(const std::set<std::uint16_t>& ports) {
  Found found;
  for (const int family : {AF_INET, AF_INET6}) {
    try {
      ask_for_sockets(family, ports, found);
    } catch (const Error&) {
      // Without IPv6, or without the kernel's part for this (CONFIG_INET_DIAG), nothing can be seen here.
    }
  }
  std::erase_if(found.ended, [&](const Ended& one) { return found.listening.contains(one.local.place().port); });
  return std::move(found.ended);
}

// RFC 9293, 3.5.1, "half-open connections": what asks the remembered end for a connection is answered with the numbers
// of the old one, and answers that with a reset, at which the kernel forgets. Nothing where the other end cannot be
// had.
FileDescriptor ask_for_connection(const Ended& ended) {
  constexpr int kYes = 1;
  const int family = ended.remote.get()->sa_family;
  FileDescriptor asker(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!asker) return asker;
  ::setsockopt(asker.get(), SOL_SOCKET, SO_REUSEADDR, &kYes, sizeof kYes);
  if (::bind(asker.get(), ended.remote.get(), ended.remote.size()) != 0) return {};
  static_cast<void>(::connect(asker.get(), ended.local.get(), ended.local.size()));  // it goes on without us
  return asker;
}

// Those of `ended` that can be forgotten now.
void forget(const std::vector<Ended>& ended, const std::set<std::uint16_t>& ports) {
  // The packets have arrived when connect(2) returns, or a moment later; nothing tells when.
  constexpr timespec kMoment{0, 5'000'000};
  constexpr int kAttempts = 100;
  std::vector<FileDescriptor> asking;
  for (const Ended& one : ended) {
    if (FileDescriptor asker = ask_for_connection(one)) asking.push_back(std::move(asker));
  }
  std::size_t left = ended.size();
  for (int attempt = 0; attempt < kAttempts && left > ended.size() - asking.size(); ++attempt) {
    if (attempt > 0) ::clock_nanosleep(CLOCK_MONOTONIC, 0, &kMoment, nullptr);
    left = ended_at(ports).size();
  }
}

}  // namespace

void forget_ended_connections(const std::set<std::uint16_t>& ports) {
  // The one may stand where the other is to be asked from, at the first attempt.
  std::size_t before = 0;
  for (std::vector<Ended> ended = ended_at(ports); !ended.empty() && ended.size() != before; ended = ended_at(ports)) {
    before = ended.size();
    forget(ended, ports);
  }
}

}  // namespace crs::engine
