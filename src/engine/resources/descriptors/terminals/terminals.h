// /dev/tty, the controlling terminal, whichever that is; and the settings of terminals (ioctl_tty(2), termios(3)).
#pragma once

#include <sys/ioctl.h>

#include <string_view>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class ControllingTerminalKind : public Kind {
 public:
  Tag tag() const override { return Description::kControllingTerminal; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

// The settings and size of the terminal behind `descriptor`.
image::TerminalState look_at_terminal(int descriptor, std::string_view name);

// Throws Damaged for settings or a size that cannot be.
void check_terminal(const image::TerminalState& state);

winsize size_of(const image::TerminalState& state);

// Gives the terminal behind `descriptor` these settings, if it is one and this process is in its foreground process
// group. Its size stays its own. Returns whether its size is another than in `state`.
bool apply_terminal(int descriptor, const image::TerminalState& state);

}  // namespace crs::engine
