#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <optional>
#include <ranges>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "cli/foreground_program.h"
#include "cli/jobs.h"
#include "cli/launch.h"
#include "cli/own_command.h"
#include "cli/periodic_checkpoints.h"
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
           "Where the system lets only its ancestors trace a process (Yama), the program allows its user to.\n\n" +
           PeriodicOptions::help() +
           "--restart-on-failure: only from snapshots of this run, and not after a signal that crs itself got.\n\n"
           "Example:\n  crs run --name sim -- python3 simulate.py --steps 1000000\n"
           "  crs run --every 10m --keep 3 --on-signal USR1 --name sim -- ./simulate input.dat\n\n"
           "Exit statuses: those of the program, 128+N if signal N ended it;\n"
           "  85   a last snapshot was taken: 'crs restart JOB' goes on\n"
           "  1    failed: crs could not start it\n"
           "  2    wrong usage\n"
           "  126  CMD is there but cannot be executed\n"
           "  127  there is no CMD\n";
  }
  std::string json_help() const override { return "Say what crs itself fails at as JSON, on standard error"; }
  bool runs_command() const override { return true; }
  std::string action() const override { return command_.empty() ? "run" : "run " + command_[0]; }

  void define(CLI::App& app) override {
    app.prefix_command();  // options after CMD are CMD's
    add_name_option(app, job_, "Name of the job (default: base name of CMD, dash, process id)");
    app.add_option("--component", component_, "The checkpointer to prepare the program for")->type_name("NAME");
    periodic_.define(app);
    periodic_.define_files(app);
    app.add_option("--restart-on-failure", restarts_, "Start it again from its newest snapshot if a signal ends it")
        ->type_name("TIMES")
        ->check(CLI::Range(0, 1'000'000'000));
    app.callback([this, &app] { command_ = app.remaining(); });
  }

  int execute(Context& context) override {
    take_command();
    periodic_.check();
    if (!job_.empty()) check_chosen_job_name(job_);
    if (!component_.empty()) context.parameters().read_option("crs=" + component_);
    const Selection selection = context.components().select();
    if (!job_.empty()) RunningJobs(context.store()).check_free(job_, ::getpid());
    Launch start{.plan = make_plan(context),
                 .allow_tracing = selection.status().capabilities.other_processes && tracing_needs_permission(),
                 .file_mode_mask = context.file_mode_mask};
    selection.module().prelaunch(start.plan);
    try {
      return run(context, start);
    } catch (const ExecutionError& error) {
      return context.report(error, action(), error.exit_status());
    }
  }

 private:
  int run(Context& context, const Launch& start) {
    SignalState signals;
    signals.block_all();
    TerminalSettings terminal_settings;
    std::optional<Announcement> announcement;
    adopt_orphans();
    const pid_t pid = launch(start, signals, [&](pid_t child) {
      if (job_.empty()) job_ = default_job_name(start.plan.application, child);
      announcement.emplace(context.store(), job_, child);
      context.say_more(fmt::format("job {} runs as process {}", job_, child));
    });
    signals.stay_blocked();
    const std::uint64_t before = restarts_ == 0 ? 0 : newest_snapshot(context);
    std::optional<PeriodicCheckpoints> checkpoints;
    if (periodic_.wanted()) checkpoints.emplace(context, periodic_, job_, component_);
    End end = wait_for(pid, checkpoints);
    for (; end.failed && restarts_ > 0; --restarts_) {
      announcement.reset();
      const std::uint64_t snapshot = newest_snapshot(context);
      if (snapshot <= before) {
        context.say(fmt::format("{} ended by signal {}, and no snapshot was taken before", job_, end.status - 128));
        break;
      }
      context.say(
          fmt::format("{0} ended by signal {1}: it is started again from {0}@{2}", job_, end.status - 128, snapshot));
      end = restart(context, snapshot, checkpoints);
    }
    // As a shell does: a program that is killed cannot put back what it changed.
    if (!end.killed) terminal_settings.keep_changes();
    return checkpoints && checkpoints->finish() ? kSnapshotTaken : end.status;
  }

  struct End {
    int status = 0;
    bool killed = false;
    bool failed = false;  // by a signal that nobody asked for
  };

  // crs has `process` as its child.
  static End wait_for(pid_t process, std::optional<PeriodicCheckpoints>& checkpoints) {
    ForegroundProgram program(process, process, std::make_unique<ForegroundTerminal>(process));
    if (checkpoints) checkpoints->set_process(process);
    const int status = program.wait(checkpoints ? &*checkpoints : nullptr);
    if (checkpoints) checkpoints->finish();
    const bool asked_for = (checkpoints && checkpoints->asked_to_stop()) || program.had(status - 128);
    return {status, program.killed(), status > 128 && status < 128 + SIGRTMIN && !asked_for};
  }

  // By a child process of crs's, which does all that a restart in the foreground does.
  End restart(Context& context, std::uint64_t snapshot, std::optional<PeriodicCheckpoints>& checkpoints) const {
    std::vector<std::string> words{"restart", "--store", context.store().location()};
    for (const std::string& parameter : context.options.parameters) words.insert(words.end(), {"--param", parameter});
    words.push_back(fmt::format("{}@{}", job_, snapshot));
    const OwnCommand command(words, OwnStreams::Ours);
    End end = wait_for(command.pid(), checkpoints);
    end.killed = end.failed;
    return end;
  }

  std::uint64_t newest_snapshot(Context& context) const {
    const std::vector<SnapshotInfo> snapshots = context.store().list(job_);
    for (const SnapshotInfo& snapshot : std::views::reverse(snapshots)) {
      if (!snapshot.damage) return *snapshot.reference.sequence;
    }
    return 0;
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

  // As the launcher that started crs in the program's place says it: PMIx, PMI, Open MPI, Slurm.
  static int rank(const Environment& environment) {
    for (const char* const name : {"PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"}) {
      const auto found = environment.find(name);
      if (found == environment.end()) continue;
      const std::string& text = found->second;
      int rank = 0;
      const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), rank);
      if (problem == std::errc() && end == text.data() + text.size() && rank >= 0) return rank;
    }
    return 0;
  }

  LaunchPlan make_plan(Context& context) const {
    LaunchPlan plan;
    plan.rank = rank(context.environment());
    plan.base_directory = context.store().location();
    plan.application = command_[0];
    plan.arguments = command_;
    for (const char* const* entry = environ; *entry != nullptr; ++entry) plan.environment.emplace_back(*entry);
    return plan;
  }

  std::string job_;
  std::string component_;
  PeriodicOptions periodic_;
  std::uint64_t restarts_ = 0;
  std::vector<std::string> command_;
};

}  // namespace

std::unique_ptr<Verb> make_run_verb() { return std::make_unique<RunVerb>(); }

}  // namespace crs::cli
