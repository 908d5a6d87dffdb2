#include "cli/signal_state.h"

namespace crs::cli {

struct sigaction ignore_file_size_signal() noexcept {
  struct sigaction ignored{};
  struct sigaction before{};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGXFSZ, &ignored, &before);
  return before;
}

SignalState::SignalState() {
  ::sigprocmask(SIG_SETMASK, nullptr, &mask_);
  struct sigaction ordinary{};
  ordinary.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &ordinary, &child_action_);
  file_size_action_ = ignore_file_size_signal();
}

void SignalState::block(std::span<const int> signals) {
  sigset_t chosen;
  ::sigemptyset(&chosen);
  for (const int signal : signals) ::sigaddset(&chosen, signal);
  ::sigprocmask(SIG_BLOCK, &chosen, nullptr);
}

void SignalState::block_all() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

// The mask first: a blocked SIGXFSZ waits although it is ignored, and would be this process's end once it is neither.
void SignalState::restore() const noexcept {
  ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
  ::sigaction(SIGCHLD, &child_action_, nullptr);
  ::sigaction(SIGXFSZ, &file_size_action_, nullptr);
}

}  // namespace crs::cli
