#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "cli/foreground_program.h"
#include "cli/jobs.h"
#include "cli/launch.h"
#include "cli/signal_state.h"
#include "cli/terminal_settings.h"
#include "cli/verb.h"

namespace crs::cli {
namespace {

// Yama's level 1 lets only a process's ancestors trace it unless it names others (kernel documentation,
// admin-guide/LSM/Yama).
bool tracing_needs_permission() {
  try {
    return read_file("/proc/sys/kernel/yama/ptrace_scope", 64).starts_with("1");
  } catch (const Error&) {
    return false;  // no Yama here
  }
}

class RunVerb : public Verb {
 public:
  std::string name() const override { return "run"; }
  std::string summary() const override { return "Start a program that is to be checkpointed"; }
  std::string usage() const override { return "run [OPTIONS] [--] CMD [ARGUMENTS...]"; }
  std::string description() const override {
    return "Starts CMD with ARGUMENTS and waits for it. The program runs as it would without crs: nothing is\n"
           "loaded into it and it costs it nothing. Its job's name is what other verbs know it by.";
  }
  std::string footer() const override {
    return "\nSignals sent to crs go on to the program; when a shell's job control stops the program, crs stops too.\n"
           "Where the system lets only its ancestors trace a process (Yama), the program allows its user to.\n\n"
           "Example:\n  crs run --name sim -- python3 simulate.py --steps 1000000\n  crs run ./simulate input.dat\n\n"
           "Exit statuses: those of the program, 128+N if signal N ended it;\n"
           "  1    failed: crs could not start it\n"
           "  2    wrong usage\n"
           "  126  CMD is there but cannot be executed\n"
           "  127  there is no CMD\n";
  }
  bool prints() const override { return false; }
  std::string action() const override { return command_.empty() ? "run" : "run " + command_[0]; }

  void define(CLI::App& app) override {
    app.prefix_command();  // options after CMD are CMD's
    app.add_option("--name", job_, "Name of the job (default: base name of CMD, dash, process id)")->type_name("JOB");
    app.add_option("--component", component_, "The checkpointer to prepare the program for")->type_name("NAME");
    app.callback([this, &app] { command_ = app.remaining(); });
  }

  int execute(Context& context) override {
    take_command();
    if (!job_.empty()) check_chosen_job_name(job_);
    if (!component_.empty()) context.parameters().read_option("crs=" + component_);
    const Selection selection = context.components().select();
    if (!job_.empty()) RunningJobs(context.store()).check_free(job_);
    Launch start{.plan = make_plan(context),
                 .allow_tracing = selection.status().capabilities.other_processes && tracing_needs_permission(),
                 .file_mode_mask = context.file_mode_mask};
    selection.module().prelaunch(start.plan);
    try {
      return run(context, start);
    } catch (const ExecutionError& error) {
      context.report(error, action());
      return error.exit_status();
    }
  }

 private:
  int run(Context& context, const Launch& start) const {
    SignalState signals;
    signals.block_all();
    TerminalSettings terminal_settings;
    std::optional<Announcement> announcement;
    adopt_orphans();
    const pid_t pid = launch(start, signals, [&](pid_t child) {
      const std::string job = job_.empty() ? default_job_name(start.plan.application, child) : job_;
      announcement.emplace(context.store(), job, child);
      context.say_more(fmt::format("job {} runs as process {}", job, child));
    });
    signals.stay_blocked();
    ForegroundProgram program(pid, pid, std::make_unique<ForegroundTerminal>(pid));
    const int status = program.wait();
    // As a shell does: a program that is killed cannot put back what it changed.
    if (!program.killed()) terminal_settings.keep_changes();
    return status;
  }

  // What CLI11 did not take: an option of ours that it does not know, or "--" and the command.
  void take_command() {
    const bool marked = !command_.empty() && command_[0] == "--";
    if (!marked && !command_.empty() && command_[0].starts_with("-")) {
      throw Error(ErrorKind::Usage, fmt::format("there is no option '{}'", command_[0])).advise("See 'crs run --help'");
    }
    if (marked) command_.erase(command_.begin());
    if (command_.empty())
      throw Error(ErrorKind::Usage, "the command to run is missing").advise("Write 'crs run -- CMD ARGUMENTS'");
  }

  LaunchPlan make_plan(Context& context) const {
    LaunchPlan plan;
    plan.base_directory = context.store().location();
    plan.application = command_[0];
    plan.arguments = command_;
    for (const char* const* entry = environ; *entry != nullptr; ++entry) plan.environment.emplace_back(*entry);
    return plan;
  }

  std::string job_;
  std::string component_;
  std::vector<std::string> command_;
};

}  // namespace

std::unique_ptr<Verb> make_run_verb() { return std::make_unique<RunVerb>(); }

}  // namespace crs::cli
