#include "engine/resources/descriptors/inet_sockets/low_ports.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string>

#include "base/io.h"

namespace crs::engine {
namespace {

bool may_bind_any() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
  return (data[0].effective >> CAP_NET_BIND_SERVICE & 1) != 0;
}

// The first that everybody may bind, in this network namespace.
unsigned first_free_port() {
  unsigned port = 1024;
  const std::string text = read_file("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  std::from_chars(text.data(), text.data() + text.size(), port);
  return port;
}

}  // namespace

bool may_bind(std::uint16_t port) { return port == 0 || port >= first_free_port() || may_bind_any(); }

}  // namespace crs::engine
