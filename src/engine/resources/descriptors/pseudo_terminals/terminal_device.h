// The devices of pseudo-terminals (the kernel's admin-guide/devices.txt).
#pragma once

#include <sys/sysmacros.h>
#include <sys/types.h>

namespace crs::engine {

inline constexpr unsigned kTerminalMajor = 136;
inline constexpr int kTerminalField = 7;  // of /proc/PID/stat: the controlling terminal (stat_number())

// As /proc/PID/stat and TIOCGDEV (ioctl_tty(2)) encode it.
inline dev_t decoded_device(unsigned encoded) {
  return makedev((encoded >> 8U) & 0xfffU, (encoded & 0xffU) | ((encoded >> 12U) & 0xfff00U));
}

}  // namespace crs::engine
