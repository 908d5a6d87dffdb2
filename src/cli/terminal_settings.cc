#include "cli/terminal_settings.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace crs::cli {

TerminalSettings::TerminalSettings() {
  for (int descriptor = 0; descriptor < 3; ++descriptor) {
    if (::tcgetattr(descriptor, &settings_) != 0) continue;
    if (::tcgetpgrp(descriptor) == ::getpgrp()) descriptor_ = descriptor;
    return;
  }
}

TerminalSettings::~TerminalSettings() {
  if (descriptor_ < 0) return;
  sigset_t stop{};
  sigset_t former{};
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &stop, &former);
  static_cast<void>(::tcsetattr(descriptor_, TCSADRAIN, &settings_));
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
}

}  // namespace crs::cli
