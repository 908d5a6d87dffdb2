#include "engine/resources/descriptors/inet_sockets/datagrams.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <ctime>

#include "base/error.h"
#include "engine/resources/descriptors/sockets/peek_position.h"

namespace crs::engine {

std::vector<Datagram> look_at_datagrams(int socket, std::string_view name) {
  constexpr std::size_t kLongest = 65536;
  std::vector<Datagram> datagrams;
  // An error that waits to be reported would be reported to this look instead of to the program.
  pollfd entry{socket, 0, 0};
  if (::poll(&entry, 1, 0) == 1 && (entry.revents & POLLERR) != 0) return datagrams;
  PeekPosition position(socket, name);
  for (std::size_t offset = 0;;) {
    if (datagrams.empty()) {
      position.rewind();
    } else {
      position.set(offset);
    }
    std::string data(kLongest, '\0');
    sockaddr_storage sender{};
    socklen_t size = sizeof sender;
    const ssize_t got = ::recvfrom(socket, data.data(), data.size(), MSG_PEEK | MSG_DONTWAIT,
                                   reinterpret_cast<sockaddr*>(&sender), &size);
    if (got < 0 && errno == EAGAIN) return datagrams;
    if (got < 0) fail_errno(errno, "cannot look at the unread data of {}", name);
    data.resize(static_cast<std::size_t>(got));
    offset += data.size();
    datagrams.push_back({std::move(data), InetAddress(std::string_view(reinterpret_cast<const char*>(&sender), size))});
  }
}

bool has_data_waiting_for_more(int socket) {
  constexpr int kMoments = 50;
  constexpr timespec kMoment{0, 1'000'000};
  for (int moment = 0; moment < kMoments; ++moment) {
    int unsent = 0;
    if (::ioctl(socket, SIOCOUTQ, &unsent) != 0 || unsent == 0) return false;
    ::nanosleep(&kMoment, nullptr);
  }
  return true;
}

}  // namespace crs::engine
