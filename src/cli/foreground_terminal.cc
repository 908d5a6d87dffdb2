#include "cli/foreground_terminal.h"

#include <fcntl.h>
#include <unistd.h>

namespace crs::cli {

ForegroundTerminal::ForegroundTerminal(pid_t program)
    : program_(program), terminal_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {}

void ForegroundTerminal::lend() {
  if (!exists() || lent_) return;
  const pid_t group = ::getpgid(program_);
  const bool may_have_it = group > 0 && group != ::getpgrp() && ::getsid(program_) == ::getsid(0);
  if (!may_have_it || ::tcgetpgrp(terminal_.get()) != ::getpgrp()) return;
  lent_ = ::tcsetpgrp(terminal_.get(), group) == 0;
  if (lent_) group_ = group;
}

void ForegroundTerminal::take_back() {
  if (!lent_) return;
  lent_ = false;
  ::tcsetpgrp(terminal_.get(), ::getpgrp());
}

}  // namespace crs::cli
