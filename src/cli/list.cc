#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "cli/format.h"
#include "cli/snapshot_text.h"
#include "cli/verb.h"
#include "store/running_jobs.h"

namespace crs::cli {
namespace {

// Without breaking a character of UTF-8.
std::string shortened(std::string text) {
  constexpr std::size_t kLongest = 160;
  if (text.size() <= kLongest) return text;
  std::size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  text.resize(end);
  return text + " ...";
}

class ListVerb : public Verb {
 public:
  std::string name() const override { return "list"; }
  std::string summary() const override { return "List the snapshots and the jobs that run"; }
  std::string usage() const override { return "list [OPTIONS] [JOB]"; }
  std::string description() const override {
    return "Lists the complete snapshots, of one job or of all, job by job and oldest first, and the jobs that run "
           "now.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs list\n  crs list sim --json\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage\n  3  no job of that name\n";
  }
  std::string action() const override { return job_.empty() ? "list the snapshots" : "list the snapshots of " + job_; }
  void define(CLI::App& app) override { app.add_option("JOB", job_, "Only this job")->type_name(""); }

  int execute(Context& context) override {
    if (!job_.empty()) check_job_name(job_);
    const auto snapshots = context.store().list(job_.empty() ? std::nullopt : std::optional(job_));
    auto running = RunningJobs(context.store()).list();
    if (!job_.empty()) std::erase_if(running, [this](const RunningJob& entry) { return entry.job != job_; });
    if (!job_.empty() && snapshots.empty() && running.empty()) {
      throw Error(ErrorKind::NotFound, fmt::format("there is no job '{}' in {}", job_, context.store().location()))
          .advise("'crs list' shows all");
    }
    if (context.options.json) {
      print_as_json(context, snapshots, running);
    } else {
      print_as_text(context, snapshots, running);
    }
    return kDone;
  }

 private:
  static void print_as_json(Context& context, const std::vector<SnapshotInfo>& snapshots,
                            const std::vector<RunningJob>& running) {
    Json list = Json::array();
    for (const SnapshotInfo& snapshot : snapshots) list.push_back(json_of(snapshot));
    Json jobs = Json::array();
    for (const RunningJob& entry : running) {
      jobs.push_back({{"job", entry.job}, {"pid", entry.pid}, {"restarting", entry.restarting}});
    }
    context.print_json({{"store", context.store().location()}, {"snapshots", list}, {"running", jobs}});
  }

  static std::string line_of(const SnapshotInfo& snapshot, std::size_t width) {
    const std::string reference = snapshot.reference.to_string();
    if (snapshot.damage)
      return fmt::format("{:<{}}  damaged: {}\n", reference, width, printable(snapshot.damage->what()));
    const store::Manifest& manifest = snapshot.manifest;
    return fmt::format("{:<{}}  {}  {:>8}  {:>8}  {:>9}  {}\n", reference, width, local_time(manifest.taken_at()),
                       human_bytes(manifest.memory_bytes()),
                       human_bytes(manifest.stored_bytes() - manifest.shared_bytes()),
                       human_seconds(manifest.pause_nanoseconds()), shortened(printable(command_of(manifest))));
  }

  static std::string line_of(const RunningJob& entry) {
    if (entry.restarting) return fmt::format("{} is being restarted by process {}\n", entry.job, entry.pid);
    return fmt::format("{} runs as process {}\n", entry.job, entry.pid);
  }

  static void print_as_text(Context& context, const std::vector<SnapshotInfo>& snapshots,
                            const std::vector<RunningJob>& running) {
    std::size_t width = std::string_view("SNAPSHOT").size();
    for (const SnapshotInfo& snapshot : snapshots) width = std::max(width, snapshot.reference.to_string().size());
    std::string text;
    if (!snapshots.empty()) {
      text = fmt::format("{:<{}}  {:<19}  {:>8}  {:>8}  {:>9}  {}\n", "SNAPSHOT", width, "TAKEN", "MEMORY", "ON DISK",
                         "PAUSE", "COMMAND");
    }
    for (const SnapshotInfo& snapshot : snapshots) text += line_of(snapshot, width);
    for (const RunningJob& entry : running) text += line_of(entry);
    context.print(text);
    if (text.empty()) context.say(fmt::format("there are no snapshots in {}", context.store().location()));
  }

  std::string job_;
};

}  // namespace

std::unique_ptr<Verb> make_list_verb() { return std::make_unique<ListVerb>(); }

}  // namespace crs::cli
