// What waitpid(2) said of a traced thread, as a value.
#pragma once

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>
#include <string>

namespace crs::engine {

class WaitStatus {
 public:
  WaitStatus() = default;
  explicit WaitStatus(int raw) : raw_(raw) {}

  // The thread is gone: it exited or a signal ended it.
  bool ended() const { return WIFEXITED(raw_) || WIFSIGNALED(raw_); }
  bool stopped() const { return WIFSTOPPED(raw_); }
  int signal() const { return WSTOPSIG(raw_); }
  // A PTRACE_EVENT_* number, or 0 (ptrace(2), "Stopped states").
  int event() const { return raw_ >> 16; }

  bool syscall_stop() const { return stopped() && signal() == (SIGTRAP | 0x80); }
  // Either PTRACE_INTERRUPT or a group stop: both are PTRACE_EVENT_STOP of a seized thread.
  bool event_stop() const { return stopped() && event() == PTRACE_EVENT_STOP; }
  // Stopped by job control (SIGSTOP, SIGTSTP, ...).
  bool group_stop() const { return event_stop() && signal() != SIGTRAP; }
  bool signal_delivery_stop() const { return stopped() && event() == 0 && !syscall_stop(); }

  // For messages: "exited with status 3", "killed by signal 9", "stopped by signal 19".
  std::string to_string() const;
  // 0..255, or 128+N after signal N; only if ended().
  int exit_status() const { return WIFEXITED(raw_) ? WEXITSTATUS(raw_) : 128 + WTERMSIG(raw_); }

 private:
  int raw_ = 0;
};

}  // namespace crs::engine
