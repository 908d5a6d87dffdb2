#include "engine/resources/descriptors/terminals/terminals.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr const char* kPath = "/dev/tty";

}  // namespace

bool ControllingTerminalKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  return S_ISCHR(seen.status.st_mode) && !seen.is_path_only() && seen.status.st_rdev == makedev(5, 0);
}

void ControllingTerminalKind::capture(TableCapture& /*table*/, const Seen& /*seen*/, Description& description) {
  description.mutable_controlling_terminal();
}

void ControllingTerminalKind::check(TableCheck& /*table*/, const Description& /*description*/) {
}  // what is missing is replaced

FileDescriptor ControllingTerminalKind::open(TableRestore& table, const Description& description) {
  try {
    return open_again(kPath, description.status_flags());
  } catch (const Error&) {
    // No controlling terminal here: the next best.
  }
  for (int stream = 0; stream < 3; ++stream) {
    if (table.stream(stream) >= 0 && ::isatty(table.stream(stream)) != 0)
      return reopen(table.stream(stream), description.status_flags());
  }
  table.context.notes.emplace_back(
      "the program had the controlling terminal (/dev/tty) open; there is none here, it gets /dev/null");
  return open_again("/dev/null", description.status_flags());
}

image::TerminalState look_at_terminal(int descriptor, std::string_view name) {
  termios2 settings{};
  winsize size{};
  if (::ioctl(descriptor, TCGETS2, &settings) != 0) fail_errno(errno, "cannot read the terminal settings of {}", name);
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0) fail_errno(errno, "cannot read the terminal size of {}", name);
  image::TerminalState state;
  state.set_settings(&settings, sizeof settings);
  state.set_rows(size.ws_row);
  state.set_columns(size.ws_col);
  state.set_width(size.ws_xpixel);
  state.set_height(size.ws_ypixel);
  return state;
}

void check_terminal(const image::TerminalState& state) {
  constexpr std::uint32_t kMost = std::numeric_limits<unsigned short>::max();
  const bool has_size =
      state.rows() <= kMost && state.columns() <= kMost && state.width() <= kMost && state.height() <= kMost;
  if (state.settings().size() != sizeof(termios2) || !has_size)
    fail(ErrorKind::Damaged, "the snapshot has terminal settings that cannot be");
}

winsize size_of(const image::TerminalState& state) {
  return {.ws_row = static_cast<unsigned short>(state.rows()),
          .ws_col = static_cast<unsigned short>(state.columns()),
          .ws_xpixel = static_cast<unsigned short>(state.width()),
          .ws_ypixel = static_cast<unsigned short>(state.height())};
}

bool apply_terminal(int descriptor, const image::TerminalState& state) {
  if (::isatty(descriptor) == 0 || ::tcgetpgrp(descriptor) != ::getpgrp()) return false;
  termios2 settings{};
  std::memcpy(&settings, state.settings().data(), std::min(sizeof settings, state.settings().size()));
  static_cast<void>(::ioctl(descriptor, TCSETS2, &settings));
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return false;
  const winsize former = size_of(state);
  return std::memcmp(&size, &former, sizeof size) != 0;
}

}  // namespace crs::engine
