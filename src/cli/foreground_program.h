// A program that crs waits for as if the program had taken crs's place in the terminal and in the caller's job list.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>

#include "base/file_descriptor.h"
#include "cli/foreground_terminal.h"

namespace crs::cli {

// What is done beside a program while crs waits for it. It may have child processes of its own.
class Companion {
 public:
  virtual ~Companion() = default;

  // Of each signal that crs gets: true, and it is not sent on to the program.
  virtual bool takes(int signal) = 0;
  // Called after every signal, SIGCHLD included, and when wait_limit() is over.
  virtual void act() = 0;
  // Empty: nothing is to be done until a signal comes.
  virtual std::optional<std::chrono::nanoseconds> wait_limit() const = 0;
  // Whether it will wait for this child process by itself.
  virtual bool waits_for(pid_t child) const = 0;
};

// Makes this process the one that adopts the orphans of the program that it is about to start (PR_SET_CHILD_SUBREAPER
// of prctl(2)), and known as that (engine/procfs/tree.h): they stay in reach of a checkpoint. ForegroundProgram takes
// away those that end.
void adopt_orphans();

// Not thread-safe. All signals of this process must be blocked (SignalState::block_all), so that each is seen here.
//
// Signals: what another process sends to crs is sent on to the program. What the terminal sends goes to the whole
// foreground process group, and is not sent twice to a program that belongs to it. Job control: where crs is a job of a
// shell and the program stops, crs stops too, so that the shell sees it; when crs is continued, so is the program.
class ForegroundProgram {
 public:
  // `pid` is what signals go to, `wait_pid` the child that ends with the program's status (crs/component.hpp,
  // RestartedProgram). `terminal` may have been lent to it before it ran.
  ForegroundProgram(pid_t pid, pid_t wait_pid, std::unique_ptr<ForegroundTerminal> terminal);

  // Returns the program's exit status, or 128+N if signal N ended it.
  int wait(Companion* companion = nullptr);
  // Whether a signal ended the child; known after wait().
  bool killed() const noexcept { return killed_; }
  // Whether crs got this signal meanwhile, and so the program as well.
  bool had(int signal) const noexcept { return ::sigismember(&had_, signal) == 1; }

 private:
  enum class Progress { Running, Ended };

  Progress handle_program();
  void handle(const siginfo_t& signal, Companion* companion);
  void forward(const siginfo_t& signal) const;
  bool reached_program(const siginfo_t& signal) const;
  bool stopped() const;
  bool stays_stopped() const;
  void stop_along(int signal);

  pid_t pid_;
  pid_t wait_pid_;
  FileDescriptor process_;  // a pidfd: the process id may be another's by the time a signal arrives
  std::unique_ptr<ForegroundTerminal> terminal_;
  sigset_t had_{};
  int terminal_stop_ = 0;  // the last signal by which the terminal stops its jobs
  int exit_status_ = 0;
  bool killed_ = false;
};

}  // namespace crs::cli
