// Asking the kernel for all sockets of a kind (sock_diag(7)).
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

namespace crs::engine {

// Sends `request` (a structure that follows the message header of type SOCK_DIAG_BY_FAMILY) and hands every answer's
// payload to `take`. Throws where the kernel does not tell; `what` says what was asked for.
void ask_sock_diag(std::span<const std::byte> request, std::string_view what,
                   const std::function<void(std::span<const std::byte>)>& take);

// For each attribute behind a fixed structure of `fixed` bytes.
template <typename Action>
void for_each_attribute(std::span<const std::byte> payload, std::size_t fixed, Action action) {
  if (payload.size() < NLMSG_ALIGN(fixed)) return;
  payload = payload.subspan(NLMSG_ALIGN(fixed));
  while (payload.size() >= sizeof(rtattr)) {
    const auto& attribute = *reinterpret_cast<const rtattr*>(payload.data());
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > payload.size()) return;
    action(attribute.rta_type, payload.subspan(RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0)));
    payload = payload.subspan(std::min<std::size_t>(RTA_ALIGN(attribute.rta_len), payload.size()));
  }
}

}  // namespace crs::engine
