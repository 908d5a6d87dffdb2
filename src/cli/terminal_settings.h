// The settings of the caller's terminal, put back at the end of a scope: for a command that runs a program on it which
// may change them and be killed before it changes them back.
#pragma once

#include <termios.h>

namespace crs::cli {

class TerminalSettings {
 public:
  // Remembers the settings of the first of descriptors 0, 1 and 2 that is a terminal, if this process is in its
  // foreground process group; otherwise this does nothing.
  TerminalSettings();
  // Puts them back, also from the background (SIGTTOU is blocked meanwhile). Throws nothing.
  ~TerminalSettings();
  TerminalSettings(const TerminalSettings&) = delete;
  TerminalSettings& operator=(const TerminalSettings&) = delete;

  // They stay as they are then: the program has changed them and ended by itself (as stty(1) does).
  void keep_changes() noexcept { descriptor_ = -1; }

 private:
  int descriptor_ = -1;
  termios settings_{};
};

}  // namespace crs::cli
