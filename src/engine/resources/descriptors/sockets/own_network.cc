#include "engine/resources/descriptors/sockets/own_network.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file_descriptor.h"

namespace crs::engine {
namespace {

// socket(7), since Linux 5.14; the C library's headers are older.
constexpr int kNetworkCookie = 71;

std::uint64_t network_cookie_of(int socket) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return ::getsockopt(socket, SOL_SOCKET, kNetworkCookie, &cookie, &size) == 0 ? cookie : 0;
}

// netdevice(7): a descriptor of the socket's network namespace.
bool is_of_own_file(int socket) {
  const FileDescriptor its(::ioctl(socket, SIOCGSKNS));
  struct stat there{};
  struct stat here{};
  if (!its || ::fstat(its.get(), &there) != 0 || ::stat("/proc/self/ns/net", &here) != 0) return true;
  return there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

}  // namespace

bool OwnNetwork::has(int socket) {
  if (!cookie_) cookie_ = network_cookie_of(FileDescriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)).get());
  return *cookie_ != 0 ? network_cookie_of(socket) == *cookie_ : is_of_own_file(socket);
}

}  // namespace crs::engine
