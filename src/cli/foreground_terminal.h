// Lends the controlling terminal to a program that leads a process group of its own, as a shell does with its jobs
// (tcsetpgrp(3)).
#pragma once

#include <sys/types.h>

#include "base/file_descriptor.h"

namespace crs::cli {

// SIGTTOU must be blocked, or this process would be stopped when it takes the terminal back. Not thread-safe.
class ForegroundTerminal {
 public:
  // Looks for the controlling terminal of this process; without one nothing here has an effect.
  explicit ForegroundTerminal(pid_t program);
  ~ForegroundTerminal() { take_back(); }
  ForegroundTerminal(const ForegroundTerminal&) = delete;
  ForegroundTerminal& operator=(const ForegroundTerminal&) = delete;

  bool exists() const noexcept { return static_cast<bool>(terminal_); }
  // To the program's process group, if that is another one of the same session and this process's group has the
  // terminal.
  void lend();
  void take_back();
  // The process group that the terminal was lent to last; 0: none.
  pid_t group() const noexcept { return group_; }

 private:
  pid_t program_;
  FileDescriptor terminal_;
  bool lent_ = false;
  pid_t group_ = 0;
};

}  // namespace crs::cli
