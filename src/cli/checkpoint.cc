#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>

#include <chrono>

#include "base/error.h"
#include "base/excluded_areas.h"
#include "cli/examination.h"
#include "cli/format.h"
#include "cli/incremental.h"
#include "cli/jobs.h"
#include "cli/memory_ranges.h"
#include "cli/service_request.h"
#include "cli/signal_state.h"
#include "cli/snapshot_text.h"
#include "cli/verb.h"
#include "engine/procfs/tree.h"
#include "engine/resources/descriptors/files/file_rules.h"
#include "engine/resources/processor/processor.h"
#include "framework/outcome.h"
#include "store/disk.h"
#include "store/extents/compression.h"
#include "store/prune.h"

namespace crs::cli {
namespace {

class CheckpointVerb : public Verb {
 public:
  std::string name() const override { return "checkpoint"; }
  std::string summary() const override { return "Take a snapshot of a running program"; }
  std::string usage() const override { return "checkpoint [OPTIONS] JOB|PID"; }
  std::string description() const override {
    return "Takes a snapshot of a running job, or of any process of yours by its process id, also one that was not\n"
           "started by crs, and of its descendants. Prints the snapshot's name, JOB@SEQ, alone on standard output "
           "once\n"
           "it is safely on disk.";
  }
  std::string footer() const override {
    return "\nThe program goes on unless --stop or --kill is given. If something cannot be kept, nothing is written, "
           "the\n"
           "program goes on, and the message names what stands in the way.\n"
           "A program that links libcrs is asked through its service, which tells its layers and waits for its\n"
           "critical sections; what delays it is shown.\n\n"
           "Example:\n  snapshot=$(crs checkpoint sim)\n  crs checkpoint --kill 4711\n"
           "  crs checkpoint --leave-out fd=7 --json sim\n\n"
           "--incremental: what the program writes is tracked from its first such snapshot on, which takes all; the "
           "next "
           "ones\n"
           "take what has changed. Each is complete in itself: any other may be removed.\n"
           "--dry-run: the program is looked at as for a checkpoint, and goes on; what would be refused is said, with "
           "status 1.\n"
           "--exclude: addresses as in /proc/PID/maps. After a restart that memory, caches say, reads as zero. It must "
           "be\n"
           "anonymous memory, and no thread's stack.\n"
           "--files: what to keep of regular files that the program writes to: 'reference' their paths (they must be "
           "there\n"
           "and not be shorter at the restart), 'copy' their content, too, which the restart brings back, 'ignore' "
           "what "
           "they\n"
           "hold: the restart takes them as they are. 'copy=*.db' is a rule for every open file of such a name; the "
           "last\n"
           "rule that fits counts. What a restart replaces it keeps beside the file, as NAME.crs-aside-N.\n"
           "--tcp keep (CAP_NET_ADMIN): with --kill, a TCP connection to another program goes on after the restart, "
           "with "
           "no\n"
           "byte lost: until then a process of crs holds it. Without --kill it can only go on where nothing came or "
           "went\n"
           "in the meantime.\n"
           "--compress auto: compresses where that makes the checkpoint faster, by what disk and cores turn out to "
           "do.\n"
           "--io-limit: KB, MB, GB or KiB, MiB, GiB a second. With --stop or --kill the program waits for it.\n\n" +
           std::string(
               "Exit statuses:\n  0  done: the snapshot is complete\n  1  failed, or something cannot be kept;\n"
               "     or, where a snapshot's name is printed all the same, layers of the program could not go on\n"
               "  2  wrong usage\n  3  no such job or process\n  4  what the store holds of the job is damaged\n");
  }
  std::string action() const override { return target_.empty() ? "checkpoint" : "checkpoint " + target_; }

  void define(CLI::App& app) override {
    app.add_option("TARGET", target_, "A running job's name, or a process id")->type_name("JOB|PID")->required();
    auto* stop = app.add_flag("--stop", stop_, "The program stays stopped (SIGCONT continues it)");
    app.add_flag("--kill", kill_, "The program ends when the snapshot is complete")->excludes(stop);
    app.add_flag("--dry-run", dry_run_, "Only say whether the program can be checkpointed; write nothing");
    app.add_flag("--single", storing_.single, "Refuse a program that has descendants");
    add_name_option(app, name_, "Name of the job in the store");
    app.add_flag("--incremental", storing_.incremental,
                 "Write only what has changed since the job's last snapshot of this kind");
    app.add_option("--leave-out", leave_out_, "Leave this out of the snapshot; may be repeated")
        ->type_name("fd=N")
        ->allow_extra_args(false);
    app.add_option("--exclude", exclude_, "Leave the content of this memory out; may be repeated")
        ->type_name("START-END")
        ->allow_extra_args(false);
    app.add_option("--compress", storing_.compression, "How to compress: none, zstd, zstd:LEVEL or auto")
        ->type_name("HOW");
    app.add_option("--io-limit", io_limit_, "Write at most so much in a second: 200MiB/s")->type_name("RATE");
    app.add_option("--keep", keep_, "Afterwards so many of the job's newest snapshots stay; older ones are removed")
        ->type_name("N")
        ->check(CLI::Range(1, 1'000'000'000));
    add_files_option(app, storing_.files);
    add_tcp_option(app, tcp_);
    app.add_option("--component", component_, "The checkpointer to use")->type_name("NAME");
    app.add_option("--timeout", timeout_, "Wait so long for another checkpoint, critical sections and layers")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.0, 1e6))
        ->check(CLI::Validator([](const std::string& text) { return text.contains("nan") ? "no number" : ""; }, ""))
        ->capture_default_str();
  }

  int execute(Context& context) override {
    // A reader of ours that goes away must not end a checkpoint in the middle.
    ::signal(SIGPIPE, SIG_IGN);
    ignore_file_size_signal();
    ::prctl(PR_SET_NAME, engine::kCheckpointName);
    check_options();
    if (!component_.empty()) context.parameters().read_option("crs=" + component_);
    Target target = find_target(context.store(), target_);
    if (!name_.empty()) target = {.pid = target.pid, .job = name_};
    if (dry_run_) return examine_program(context, target, options(context));
    warnings_ = services_below(target.pid);
    if (auto connection = connect_to_service(context, target.pid)) {
      return through_service(context, *connection, target);
    }
    const Selection selection = select_for_others(context);
    const auto writer = context.store().begin(request(context, target, selection));
    take(selection.module(), target.pid, *writer, context, target);
    if (!writer->committed()) fail(ErrorKind::Failed, "component {} stored no snapshot", selection.name());
    prune_older(context, target.job);
    // Whoever does not hear of it has a snapshot all the same, and perhaps no program any more.
    in_context(fmt::format("the snapshot {} is complete", writer->reference().to_string()),
               [&] { print_result(context, *writer, target, {}, {}); });
    if (!problem_) return kDone;
    context.say(fmt::format("{}: component {}: {}", writer->reference().to_string(), selection.name(), *problem_));
    return kFailed;
  }

 private:
  void check_options() {
    if (dry_run_ && (stop_ || kill_))
      fail(ErrorKind::Usage, "--dry-run leaves the program as it is: neither --stop nor --kill");
    if (!name_.empty()) check_chosen_job_name(name_);
    parse_compression(storing_.compression);
    static_cast<void>(engine::FileRules(storing_.files));
    if (!io_limit_.empty()) storing_.write_limit = parse_rate(io_limit_);
  }

  // The program's layers are told, by its own service.
  int through_service(Context& context, wire::Connection& connection, const Target& target) {
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(timeout_));
    const wire::Request request{.after = after(), .time_limit = limit, .leave_out = leave_out_, .exclude = excluded()};
    ServiceRequest asked(context, connection, target, component_, request, storing_, tcp_policy());
    asked.run();
    if (!asked.pictures() && !options_of_pictures().empty()) {
      warnings_.push_back(
          fmt::format("component {} makes its snapshots itself, in the program, and knows nothing of {}",
                      asked.writer().manifest().component().name(), fmt::join(options_of_pictures(), ", ")));
    }
    if (kill_ && !asked.has_ended_program()) problem_ = not_as_asked(AfterCheckpoint::Kill, State::Continue);
    prune_older(context, asked.writer().reference().job);
    in_context(fmt::format("the snapshot {} is complete", asked.writer().reference().to_string()),
               [&] { print_result(context, asked.writer(), target, asked.layers(), asked.failures()); });
    if (problem_ && asked.failures().empty())
      context.say(fmt::format("{}: {}", asked.writer().reference().to_string(), *problem_));
    return asked.failures().empty() && !problem_ ? kDone : kFailed;
  }

  // Those given that say how whoever stands outside the program makes its snapshot.
  std::vector<std::string> options_of_pictures() const {
    std::vector<std::string> names;
    const auto add = [&](bool given, const char* name) {
      if (given) names.emplace_back(name);
    };
    add(!leave_out_.empty(), "--leave-out");
    add(!excluded().empty(), "--exclude");
    add(storing_.single, "--single");
    add(storing_.incremental, "--incremental");
    add(!storing_.compression.empty(), "--compress");
    add(storing_.write_limit != 0, "--io-limit");
    add(!storing_.files.empty(), "--files");
    add(tcp_policy() != TcpPolicy::Reset, "--tcp");
    return names;
  }

  // The snapshot is complete, whatever becomes of older ones.
  void prune_older(Context& context, const std::string& job) const {
    if (keep_ == 0) return;
    try {
      prune(context.store(), job, {.keep = keep_, .taken_before = {}});
    } catch (const Error& error) {
      context.say(fmt::format("warning: older snapshots of {} stay: {}", job, error.what()));
    }
  }

  TcpPolicy tcp_policy() const {
    return tcp_ == "keep" ? TcpPolicy::Keep : tcp_ == "refuse" ? TcpPolicy::Refuse : TcpPolicy::Reset;
  }

  AfterCheckpoint after() const {
    return stop_ ? AfterCheckpoint::Stop : kill_ ? AfterCheckpoint::Kill : AfterCheckpoint::Continue;
  }

  SnapshotRequest request(Context& context, const Target& target, const Selection& selection) const {
    SnapshotRequest request;
    request.job = target.job;
    request.component = selection.name();
    request.component_version = selection.status().version;
    request.interface_version = selection.status().interface_version;
    request.wait_limit = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(timeout_));
    request.progress = [&context](const std::string& line) { context.say(line); };
    request.cpu_features = engine::processor_features;
    return request;
  }

  // The component writes its files by itself, and knows nothing of stores.
  void take(Module& module, pid_t pid, SnapshotWriter& writer, Context& context, const Target& target) {
    try {
      CheckpointOptions chosen = options(context);
      if (storing_.incremental) make_incremental(chosen, context.store(), writer.reference());
      chosen.remembered_path = context.store().remembered_path(target.job);
      problem_ = not_as_asked(chosen.after, module.checkpoint(pid, writer, chosen).state);
    } catch (Error& error) {
      // Whatever of it was looked for just then.
      const bool missing = error.error_number() == ENOENT || error.error_number() == ESRCH;
      if (missing && !start_time_of(pid)) {
        throw Error(ErrorKind::ProgramGone, fmt::format("process {} ended meanwhile", pid));
      }
      advise_about_space(error);
      throw;
    }
  }

  std::vector<MemoryRange> excluded() const {
    std::vector<MemoryRange> ranges;
    for (const std::string& range : exclude_) ranges.push_back(parse_memory_range(range));
    check_excluded_count(ranges.size());  // so many fit into the request to a program's service, too
    return ranges;
  }

  CheckpointOptions options(Context& context) const {
    CheckpointOptions options;
    options.after = after();
    options.single = storing_.single;
    options.leave_out = leave_out_;
    options.exclude = excluded();
    options.compression = storing_.compression;
    options.write_limit = storing_.write_limit;
    options.files = storing_.files;
    options.tcp = tcp_policy();
    options.progress = [&context](const std::string& line) { context.say(line); };
    return options;
  }

  void print_result(Context& context, const SnapshotWriter& writer, const Target& target,
                    const std::vector<LayerTime>& layers, const std::vector<std::string>& layer_failures) const {
    const store::Manifest& manifest = writer.manifest();
    const std::string reference = writer.reference().to_string();
    for (const std::string& warning : manifest.warnings()) context.say("warning: " + warning);
    for (const std::string& warning : warnings_) context.say("warning: " + warning);
    if (context.options.json) {
      Json json = result(writer, target);
      for (const std::string& warning : warnings_) json["warnings"].push_back(warning);
      if (!layers.empty()) json["layer_times"] = json_of(layers);
      json["layer_failures"] = layer_failures;
      context.print_json(json);
      return;
    }
    context.print(reference + "\n");
    context.say(fmt::format("{}: {} in {}, the program was paused for {} -> {}", reference,
                            human_bytes(manifest.memory_bytes()), human_seconds(manifest.total_nanoseconds()),
                            human_seconds(manifest.pause_nanoseconds()), writer.final_location()));
    if (stop_) context.say(fmt::format("process {} is stopped; 'kill -CONT {}' continues it", target.pid, target.pid));
  }

  Json result(const SnapshotWriter& writer, const Target& target) const {
    Json json = {{"reference", writer.reference().to_string()}, {"location", writer.final_location()}};
    json["process"] = target.pid;
    json["after"] = stop_ ? "stopped" : kill_ && !problem_ ? "killed" : "continued";
    Json manifest = cli::json_of(writer.manifest());
    json["pause_seconds"] = static_cast<double>(writer.manifest().pause_nanoseconds()) / 1e9;
    json["total_seconds"] = static_cast<double>(writer.manifest().total_nanoseconds()) / 1e9;
    json["bytes"] = manifest["memory_bytes"];
    json.update(manifest);
    return json;
  }

  std::string target_;
  std::string name_;
  std::string component_;
  std::string tcp_;
  std::vector<std::string> leave_out_;
  std::vector<std::string> exclude_;
  Storing storing_;
  std::vector<std::string> warnings_;
  std::string io_limit_;
  double timeout_ = 600;
  std::uint64_t keep_ = 0;
  bool stop_ = false;
  bool kill_ = false;
  std::optional<std::string> problem_;  // what the component did with the program that was not asked of it
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_checkpoint_verb() { return std::make_unique<CheckpointVerb>(); }

}  // namespace crs::cli
