#include "engine/resources/descriptors/inet_sockets/low_ports.h"

#include <linux/capability.h>

#include <charconv>
#include <string>

#include "base/io.h"
#include "engine/machine/capabilities.h"

namespace crs::engine {
namespace {

// The first that everybody may bind, in this network namespace.
unsigned first_free_port() {
  unsigned port = 1024;
  const std::string text = read_file("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  std::from_chars(text.data(), text.data() + text.size(), port);
  return port;
}

}  // namespace

bool may_bind(std::uint16_t port) {
  return port == 0 || port >= first_free_port() || has_capability(CAP_NET_BIND_SERVICE);
}

}  // namespace crs::engine
