#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "cli/foreground_program.h"
#include "cli/format.h"
#include "cli/jobs.h"
#include "cli/layer_report.h"
#include "cli/periodic_checkpoints.h"
#include "cli/signal_state.h"
#include "cli/snapshot_text.h"
#include "cli/snapshot_verb.h"
#include "cli/terminal_settings.h"
#include "cli/verb.h"
#include "store/snapshot_reader.h"
#include "wire/messages.h"

namespace crs::cli {
namespace {

const std::map<std::string, Ids> kIds = {
    {"auto", Ids::Automatic}, {"keep", Ids::Keep}, {"namespace", Ids::Namespace}, {"new", Ids::New}};
const std::map<std::string, Clocks> kClocks = {{"continue", Clocks::GoOn}, {"machine", Clocks::OfMachine}};
const std::map<std::string, ChangedFiles> kChangedFiles = {{"refuse", ChangedFiles::Refuse},
                                                           {"accept", ChangedFiles::Accept}};

std::vector<std::string> names_of(const auto& choices) {
  std::vector<std::string> names;
  for (const auto& [name, value] : choices) names.push_back(name);
  return names;
}

// A detached program outlives this command, so it must not keep a pipe of its open: `pid=$(crs restart --detach sim)`
// would wait for the end of the program. While this object lives, standard output and error that are pipes or sockets
// are /dev/null, which the program takes instead.
class WithoutPipes {
 public:
  explicit WithoutPipes(bool needed) {
    if (!needed) return;
    for (const int number : {STDOUT_FILENO, STDERR_FILENO}) set_aside(number);
  }
  ~WithoutPipes() {
    for (const auto& [number, original] : originals_) ::dup2(original.get(), number);
  }
  WithoutPipes(const WithoutPipes&) = delete;
  WithoutPipes& operator=(const WithoutPipes&) = delete;

 private:
  void set_aside(int number) {
    struct stat status{};
    if (::fstat(number, &status) != 0 || (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode))) return;
    FileDescriptor original(::fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!original) fail_errno(errno, "duplicating standard stream {}", number);
    ::dup2(open_file("/dev/null", O_RDWR).get(), number);
    originals_.emplace(number, std::move(original));
  }

  std::map<int, FileDescriptor> originals_;
};

// The program is to have its own descriptors, whose numbers must be free; of the caller's it takes the standard
// streams. All that this command opens itself is closed on exec, so that what is not was inherited.
void close_inherited(int kept) {
  for (const int number : inherited_descriptors()) {
    if (number != kept) ::close(number);
  }
}

class RestartVerb : public Verb {
 public:
  std::string name() const override { return "restart"; }
  std::string summary() const override { return "Start a program again from a snapshot"; }
  std::string usage() const override { return "restart [OPTIONS] JOB[@SEQ]|DIR"; }
  std::string description() const override {
    return "Checks the snapshot (JOB alone: its newest one; DIR, a path with a '/': a snapshot's directory, also one\n"
           "that was copied to another place), starts the program from it, and waits for the program;\n"
           "with --detach, prints its process id and ends. Nothing runs if anything is wrong with the snapshot.";
  }
  std::string footer() const override {
    return "\nStandard input, output and error that led to a terminal or to something outside the snapshot are\n"
           "those of this command (with --detach, pipes are left out: the program gets /dev/null for them).\n"
           "A file that the program appended to is cut back; what is cut off is kept and its place named.\n"
           "Signals sent to crs go on to the program. The component that wrote the snapshot is used.\n\n" +
           PeriodicOptions::help() +
           "\n"
           "--ids: 'keep' takes the old process and thread ids in place (root or CAP_CHECKPOINT_RESTORE, and they are\n"
           "free); 'namespace' puts them into a private pid namespace; 'new' gives fresh ids; 'auto' the first that "
           "works.\n\n"
           "--clocks: 'continue' lets CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from where they were at the "
           "checkpoint,\n"
           "in a time namespace, where this user can have one (root, or a program in private namespaces); 'machine' "
           "takes\n"
           "those of the machine.\n\n"
           "--lazy: a page comes when it is touched, all others in the background, each verified before it is seen. A\n"
           "damaged one ends the program, and standard error says so. The program cannot tell the difference. It "
           "takes\n"
           "CAP_SYS_PTRACE; without that all memory is loaded first, and a note says so. --io-limit (200MiB/s) bounds\n"
           "what comes in the background; a page that is touched comes at once.\n\n"
           "A program that links libcrs is told where it comes from, and the values of --env and of the variables of\n"
           "this command that begin with CRS_, which it reads through its service. If one of its layers cannot\n"
           "come back, the program hears of it and this command says so.\n\n"
           "--replace: the process of this command becomes the program and keeps its process id: 'exec crs restart\n"
           "--replace sim' in a script. All memory is loaded first, and no checkpoints are taken. Refused for a "
           "snapshot\n"
           "of several processes, in a process that has other threads or children or is the first of its pid "
           "namespace,\n"
           "and with --ids namespace.\n\n"
           "Example:\n  crs restart sim\n  pid=$(crs restart --detach sim@3)\n\n"
           "Exit statuses: in the foreground those of the program, 128+N if signal N ended it, 85 after a last "
           "snapshot;\n"
           "  0  done (--detach): the program runs\n  1  failed: nothing was started; or, where a process id is "
           "printed all the same,\n     layers of the program could not come back\n  2  wrong usage\n"
           "  3  no such snapshot\n  4  the snapshot is damaged: nothing was started\n";
  }
  std::string json_help() const override { return "Print the result (with --detach alone) or the error as JSON"; }
  std::string action() const override { return target_.empty() ? "restart" : "restart " + target_; }

  void define(CLI::App& app) override {
    app.add_option("SNAPSHOT", target_, "The snapshot, or a job for its newest one")
        ->type_name("JOB[@SEQ]|DIR")
        ->required();
    app.add_flag("--detach", detach_, "Do not wait: print the program's process id");
    CLI::Option* const lazy =
        app.add_flag("--lazy", lazy_, "Let the program run before all of its memory is there (root)");
    app.add_option("--io-limit", io_limit_, "With --lazy: read at most so much in a second: 200MiB/s")
        ->type_name("RATE")
        ->needs(lazy);
    app.add_option("--ids", ids_, "Process ids: auto, keep, namespace or new")
        ->type_name("HOW")
        ->check(CLI::IsMember(names_of(kIds)))
        ->capture_default_str();
    app.add_option("--clocks", clocks_, "CLOCK_MONOTONIC and CLOCK_BOOTTIME: continue or machine")
        ->type_name("HOW")
        ->check(CLI::IsMember(names_of(kClocks)))
        ->capture_default_str();
    app.add_option("--files", changed_files_, "Files changed since: refuse or accept")
        ->type_name("HOW")
        ->check(CLI::IsMember(names_of(kChangedFiles)))
        ->capture_default_str();
    app.add_option("--env", variables_, "A variable for a program with a service; may be repeated")
        ->type_name("NAME=VALUE")
        ->allow_extra_args(false)
        ->check(CLI::Validator(
            [](const std::string& text) { return text.find('=') + 1 > 1 ? "" : "a variable is written NAME=VALUE"; },
            ""));
    app.add_option("--layers-timeout", layers_timeout_, "How long a program's layers may take to come back")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.0, 1e6))
        ->capture_default_str();
    add_name_option(app, job_, "Name of the job that the program is from now on (default: JOB)");
    periodic_.define(app);
    app.add_flag("--replace", replace_, "Become the program, under this command's own process id");
    // For libcrs: hidden from the help.
    app.add_option("--fd", answer_to_, "The socket of the program that asked for the restart")->group("");
    app.add_flag("--check-only", check_only_, "Only check whether a restart can begin")->group("");
  }

  int execute(Context& context) override {
    close_inherited(answer_to_);
    if (answer_to_ < 0) return carry_out(context);
    wire::Connection asker(FileDescriptor(answer_to_), "the program that asked");
    ::fcntl(answer_to_, F_SETFD, FD_CLOEXEC);
    asker_ = &asker;
    try {
      const int status = carry_out(context);
      asker.send(wire::to_message(started_));
      return status;
    } catch (const Error& error) {
      asker.send(wire::to_message(wire::Failure{error}));
      throw;
    }
  }

 private:
  // NOLINTNEXTLINE(readability-function-size): a story is a list of steps
  int carry_out(Context& context) {
    periodic_.check();
    if (detach_ && periodic_.wanted())
      throw Error(ErrorKind::Usage, "with --detach, crs does not stay to take checkpoints").advise("Leave it out");
    if (!job_.empty()) check_chosen_job_name(job_);
    const SnapshotInfo snapshot = open_snapshot(context, target_);
    const Selection selection = context.components().select(snapshot.manifest.component().name());
    const std::string job = job_.empty() ? snapshot.reference.job : job_;
    SignalState signals;
    // One that comes while the program is being made asks for a last snapshot of it all the same.
    signals.block(periodic_.last_signals());
    // The program's terminal settings are applied to this terminal; they end with the program.
    std::optional<TerminalSettings> terminal_settings;
    if (!detach_ && !replace_ && !check_only_) terminal_settings.emplace();
    // Under this command's own id until the program is there: two restarts at once do not both get through. A process
    // that becomes the program is already known under whatever name it has.
    std::optional<Announcement> announcement = replace_ || check_only_ ? std::nullopt : announce_restart(context, job);
    std::string problem;
    std::unique_ptr<ForegroundTerminal> terminal;
    const auto before_start = [&](pid_t pid) {
      check_wanted();
      // A signal that comes earlier ends this command and with it what it has made of the program; one that comes later
      // goes on to the program.
      signals.block_all();
      if (announcement) problem = hand_over(*announcement, pid);
      if (detach_) return;
      // Before it runs: a shell that finds itself in the background of its terminal ends.
      terminal = std::make_unique<ForegroundTerminal>(pid);
      terminal->lend();
    };
    LayerReport report(context, snapshot.reference, news(context, snapshot, job), layers_timeout());
    const RestartedProgram program = restart(context, selection, snapshot, job, before_start, report.channel());
    report.handed_over();
    started_ = {program.pid, snapshot.reference.to_string(), selection.name()};
    if (!problem.empty()) context.say(problem);
    for (const std::string& note : program.notes) context.say(note);
    if (check_only_) return kDone;
    if (replace_) {
      // This is the helper process; the program is the one that began here.
      report.wait();
      return kDone;
    }
    if (detach_) {
      if (announcement) announcement->keep();
      report.wait();
      return leave(context, snapshot, job, selection.name(), program, report.failures());
    }
    context.say_more(fmt::format("{} runs as process {}", snapshot.reference.to_string(), program.pid));
    signals.block_all();  // SIGCHLD, too, which the component may have let through again
    signals.stay_blocked();
    report.wait_aside();
    if (!terminal) terminal = std::make_unique<ForegroundTerminal>(program.pid);
    return accompany(context, program, job, std::move(terminal));
  }

  // Whoever asked through libcrs gets an answer; the output is the program's.
  int leave(Context& context, const SnapshotInfo& snapshot, const std::string& job, const std::string& component,
            const RestartedProgram& program, const std::vector<std::string>& failures) const {
    if (answer_to_ < 0) print_result(context, snapshot, job, component, program, failures);
    return failures.empty() ? kDone : kFailed;
  }

  // In the foreground until the program ends: the exit status.
  int accompany(Context& context, const RestartedProgram& program, const std::string& job,
                std::unique_ptr<ForegroundTerminal> terminal) {
    ForegroundProgram foreground(program.pid, program.wait_pid, std::move(terminal));
    if (!periodic_.wanted()) return foreground.wait();
    PeriodicCheckpoints checkpoints(context, periodic_, job, "");
    checkpoints.set_process(program.pid);
    const int status = foreground.wait(&checkpoints);
    return checkpoints.finish() ? kSnapshotTaken : status;
  }

  // Whoever asked through libcrs may have ended, or have given up: then nothing is to start behind its back.
  void check_wanted() const {
    if (asker_ != nullptr && asker_->has_ended())
      fail(ErrorKind::Failed, "whoever asked for the restart has gone, or waits no longer");
  }

  // A program can be started from a store that cannot be written to (a read-only copy, a full disk); its name is then
  // unknown to other commands.
  static bool is_unwritable(const Error& error) {
    constexpr std::array kReasons = {EROFS, EACCES, EPERM, ENOSPC, EDQUOT};
    return std::ranges::find(kReasons, error.error_number()) != kReasons.end();
  }

  static std::optional<Announcement> announce_restart(Context& context, const std::string& job) {
    try {
      RunningJobs(context.store()).check_free(job, ::getpid());  // waits for one that is ending
      return std::optional<Announcement>(std::in_place, context.store(), job, ::getpid(), Runner::Restart);
    } catch (const Error& error) {
      if (!is_unwritable(error)) throw;
      context.say(fmt::format("warning: 'crs list' will not show that {} runs: {}", job, error.what()));
      return std::nullopt;
    }
  }

  static std::optional<SetAside> make_set_aside(Context& context, const Reference& reference) {
    try {
      return context.store().make_set_aside(reference);
    } catch (const Error& error) {
      if (!is_unwritable(error)) throw;
      return std::nullopt;
    }
  }

  // What the program is told: it reads the variables through its service, and keeps its environment as it was.
  RestartNews news(Context& context, const SnapshotInfo& snapshot, const std::string& job) const {
    RestartNews news;
    news.reference = snapshot.reference.to_string();
    news.job = job;
    for (const auto& [name, value] : context.environment()) {
      if (name.starts_with("CRS_")) news.environment[name] = value;
    }
    for (const std::string& variable : variables_) {
      const std::size_t equals = variable.find('=');
      news.environment[variable.substr(0, equals)] = variable.substr(equals + 1);
    }
    for (const store::RangeRecord& range : snapshot.manifest.excluded()) {
      news.excluded.push_back({range.start(), range.end()});
    }
    return news;
  }

  // A program that begins anew has its environment from this process, as component self has it do.
  void set_variables() const {
    for (const std::string& variable : variables_) {
      const std::size_t equals = variable.find('=');
      // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread that reads it
      ::setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
    }
  }

  std::chrono::nanoseconds layers_timeout() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(layers_timeout_));
  }

  RestartedProgram restart(Context& context, const Selection& selection, const SnapshotInfo& snapshot,
                           const std::string& job, const std::function<void(pid_t)>& before_start, int channel) const {
    const std::optional<SetAside> set_aside = check_only_ ? std::nullopt : make_set_aside(context, snapshot.reference);
    RestartOptions options;
    options.ids = kIds.at(ids_);
    options.clocks = kClocks.at(clocks_);
    options.changed_files = kChangedFiles.at(changed_files_);
    options.detach = detach_;
    options.lazy = lazy_ && !replace_;
    if (!io_limit_.empty()) options.read_limit = parse_rate(io_limit_);
    options.replace_caller = replace_;
    options.check_only = check_only_;
    if (set_aside) options.set_aside_directory = set_aside->path();
    options.before_start = before_start;
    options.channel = channel;
    options.remembered_path = context.store().remembered_path(job);
    options.file_mode_mask = context.file_mode_mask;
    options.progress = [&context](const std::string& line) { context.say(line); };
    options.rebuild = [&snapshot](Snapshot& given) { given = snapshot.to_snapshot(); };
    RestartedProgram program = start(context, selection, snapshot, options);
    if (program.wait_pid == 0) program.wait_pid = program.pid;
    return program;
  }

  // Of a snapshot that is named by its place the component is told no more.
  Snapshot given(const SnapshotInfo& snapshot, const InterfaceVersion& built_for) const {
    constexpr int kFirstWithColdStart = 5;
    if (!is_location(target_) || built_for.minor < kFirstWithColdStart) return snapshot.to_snapshot();
    return {.component = {}, .reference = {}, .location = snapshot.location, .remote_location = {}, .cold_start = true};
  }

  // Whatever the component: the page data that native has is verified while it is loaded, all else now. Whoever asks
  // whether it may give itself up is told of damaged page data now, too: later is too late.
  void verify(const std::string& location) const {
    if (check_only_) return verify_snapshot(location);
    SnapshotReader(location).verify_before_restart();
  }

  RestartedProgram start(Context& context, const Selection& selection, const SnapshotInfo& snapshot,
                         const RestartOptions& options) const {
    try {
      verify(snapshot.location);
      // Whoever asked through libcrs goes on beside its child, and reads what it writes.
      const WithoutPipes without_pipes(detach_ && answer_to_ < 0);
      if (!detach_ && !replace_ && !check_only_) adopt_orphans();
      set_variables();
      check_wanted();  // a component need not let itself be stopped by before_start()
      Snapshot wanted = given(snapshot, selection.status().interface_version);
      RestartedProgram program = selection.module().restart(wanted, options);
      if (wanted.cold_start && !check_only_) {
        context.say_more(fmt::format(
            "component {} did not clear the cold start: it may not know which snapshot this is", selection.name()));
      }
      return program;
    } catch (Error& error) {
      // What somebody has removed meanwhile is not damaged.
      const bool may_be_removed = error.kind() == ErrorKind::Damaged || error.error_number() == ENOENT;
      if (may_be_removed && !is_location(target_)) context.store().check_present(snapshot.reference);
      const bool may_have_older = error.kind() == ErrorKind::Damaged && !is_location(target_);
      if (may_have_older) error.advise(advice_after_damage(context, snapshot.reference));
      throw;
    }
  }

  // That it cannot be found by its name is no reason not to start it. Returns what is to be said of it.
  static std::string hand_over(Announcement& announcement, pid_t pid) {
    try {
      announcement.hand_over(pid);
      return {};
    } catch (const Error& error) {
      return fmt::format("warning: process {} runs, but not under its job's name: {}", pid, error.what());
    }
  }

  static void print_result(Context& context, const SnapshotInfo& snapshot, const std::string& job,
                           const std::string& component, const RestartedProgram& program,
                           const std::vector<std::string>& layer_failures) {
    if (!context.options.json) {
      context.print(fmt::format("{}\n", program.pid));
      return;
    }
    context.print_json({{"reference", snapshot.reference.to_string()},
                        {"job", job},
                        {"component", component},
                        {"pid", program.pid},
                        {"wait_pid", program.wait_pid},
                        {"notes", program.notes},
                        {"layer_failures", layer_failures},
                        {"passes", json_of(program.passes)}});
  }

  std::string target_;
  std::string job_;
  std::string ids_ = "auto";
  std::string clocks_ = "continue";
  std::string changed_files_ = "refuse";
  std::string io_limit_;
  std::vector<std::string> variables_;
  PeriodicOptions periodic_;
  double layers_timeout_ = 60;
  int answer_to_ = -1;
  const wire::Connection* asker_ = nullptr;
  wire::RestartDone started_;
  bool detach_ = false;
  bool lazy_ = false;
  bool replace_ = false;
  bool check_only_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_restart_verb() { return std::make_unique<RestartVerb>(); }

}  // namespace crs::cli
