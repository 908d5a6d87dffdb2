// The signal settings that crs was started with and that a program it starts must get unchanged.
#pragma once

#include <signal.h>

#include <span>

namespace crs::cli {

// Files that grow beyond RLIMIT_FSIZE become an error, like a full disk, instead of a death (setrlimit(2), SIGXFSZ).
// Returns what was to happen before.
struct sigaction ignore_file_size_signal() noexcept;

// Makes SIGCHLD wait for us (a caller may have ignored it, and then no child could be waited for), ignores
// SIGXFSZ, and remembers how everything was. One object at a time; the thread that makes it is the process's only one.
class SignalState {
 public:
  SignalState();
  ~SignalState() {
    if (!stays_blocked_) restore();
  }
  SignalState(const SignalState&) = delete;
  SignalState& operator=(const SignalState&) = delete;

  // From here on these signals wait; all others still act.
  void block(std::span<const int> signals);
  // From here on no signal interrupts this process: they wait until ForegroundProgram takes them one by one.
  void block_all();
  // The process ends with another's exit status: no signal that comes now may change that.
  void stay_blocked() noexcept { stays_blocked_ = true; }
  // How it was when this object was made. Async-signal-safe: for the child between fork(2) and execve(2), too.
  void restore() const noexcept;

 private:
  sigset_t mask_;
  struct sigaction child_action_{};
  struct sigaction file_size_action_{};
  bool stays_blocked_ = false;
};

}  // namespace crs::cli
