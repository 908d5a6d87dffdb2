// Checkpoints that crs takes by itself while it waits for a program: at intervals, and a last one before the end.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/foreground_program.h"
#include "cli/own_command.h"
#include "cli/verb.h"

namespace crs::cli {

// The exit status after a last snapshot: start the program again from it (EX_... of sysexits.h are below).
inline constexpr int kSnapshotTaken = 85;

// The options of a verb that waits for a program.
class PeriodicOptions {
 public:
  void define(CLI::App& app);
  // What is kept of files. Apart: `crs restart` has another option of this name.
  void define_files(CLI::App& app);
  // Throws an Error of kind Usage for what does not fit together. Once, after the parsing.
  void check();
  // Whether crs has anything to do beside waiting.
  bool wanted() const noexcept { return interval_ || automatic_ || !last_signals_.empty(); }
  // The signals that ask for a last snapshot.
  std::span<const int> last_signals() const noexcept { return last_signals_; }
  // What to say of them after the options.
  static std::string help();

 private:
  friend class PeriodicCheckpoints;

  std::string every_;
  std::string between_failures_text_ = "24h";
  std::vector<std::string> signal_names_;
  std::uint64_t keep_ = 0;
  std::vector<std::string> files_;
  std::string tcp_;

  bool automatic_ = false;
  std::optional<std::chrono::nanoseconds> interval_;
  std::chrono::nanoseconds between_failures_{};
  std::vector<int> last_signals_;
};

// Each checkpoint is made by a child process, `crs checkpoint`, so that nothing of it can disturb the waiting.
class PeriodicCheckpoints : public Companion {
 public:
  // `component`: the checkpointer to use; may be empty. Context and options outlive this.
  PeriodicCheckpoints(Context& context, const PeriodicOptions& options, std::string job, std::string component);
  // Waits for a checkpoint that is under way.
  ~PeriodicCheckpoints() override;
  PeriodicCheckpoints(const PeriodicCheckpoints&) = delete;
  PeriodicCheckpoints& operator=(const PeriodicCheckpoints&) = delete;

  // Which process gets a signal that asked for a last snapshot when that fails. Before each wait.
  void set_process(pid_t pid) noexcept { process_ = pid; }

  bool takes(int signal) override;
  void act() override;
  bool waits_for(pid_t child) const override { return running_ && running_->pid() == child; }
  std::optional<std::chrono::nanoseconds> wait_limit() const override;

  // The program has ended: waits for a checkpoint that is under way. Whether the program was ended by a last snapshot.
  bool finish();
  // Whether a last snapshot was ever asked for.
  bool asked_to_stop() const noexcept { return asked_to_stop_; }

 private:
  using Clock = std::chrono::steady_clock;

  void start(bool last);
  void take_result();
  void choose_interval(std::chrono::nanoseconds cost);
  std::vector<std::string> command(bool last) const;

  Context& context_;
  const PeriodicOptions& options_;
  std::string job_;
  std::string component_;
  pid_t process_ = 0;

  std::optional<std::chrono::nanoseconds> interval_;  // between beginnings
  std::chrono::nanoseconds announced_{};              // the last interval that the user was told
  Clock::time_point due_;
  std::optional<OwnCommand> running_;
  Clock::time_point running_since_;
  bool running_is_last_ = false;
  int stop_signal_ = 0;  // what asked for a last snapshot; 0: nothing, or it failed
  bool asked_to_stop_ = false;
  bool ended_program_ = false;
};

}  // namespace crs::cli
