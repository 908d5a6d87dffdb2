#include "store/prune.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>

#include "base/error.h"
#include "cli/duration.h"
#include "cli/format.h"
#include "cli/verb.h"

namespace crs::cli {
namespace {

class PruneVerb : public Verb {
 public:
  std::string name() const override { return "prune"; }
  std::string summary() const override { return "Remove old snapshots"; }
  std::string usage() const override { return "prune [OPTIONS] [JOB...]"; }
  std::string description() const override {
    return "Removes snapshots of the jobs that are named, or of every job in the store: all but the newest of each, "
           "as\n"
           "many as --keep says, and with --older-than only those that were taken longer ago than that.";
  }
  std::string footer() const override {
    return "\nLater snapshots keep what they share with those that go. Damaged snapshots are not counted and not "
           "removed:\n"
           "'crs list' shows them. DURATION is a number and ms, s, m, h or d.\n\n"
           "Example:\n  crs prune --keep 3 sim\n  crs prune --older-than 30d --dry-run\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage\n  3  nothing to remove, or no such job\n";
  }
  std::string action() const override { return "prune"; }

  void define(CLI::App& app) override {
    app.add_option("JOB", jobs_, "The jobs; none: all")->type_name("JOB...");
    app.add_option("--keep", keep_, "So many of each job's newest snapshots stay (default with --older-than: 1)")
        ->type_name("N")
        ->check(CLI::Range(1, 1'000'000'000));
    app.add_option("--older-than", older_than_, "Only what was taken longer ago than this")->type_name("DURATION");
    app.add_flag("--dry-run", dry_run_, "Only say what would be removed");
  }

  int execute(Context& context) override {
    if (keep_ == 0 && older_than_.empty()) {
      throw Error(ErrorKind::Usage, "it is not said what is to go")
          .advise("Write 'crs prune --keep N', 'crs prune --older-than DURATION', or both");
    }
    const PrunePolicy chosen = policy();
    for (const std::string& job : jobs_) {
      check_job_name(job);
      if (context.store().list(job).empty()) fail(ErrorKind::NotFound, "there is no snapshot of {}", job);
    }
    RemovedSnapshots removed;
    for (const std::string& job : jobs_.empty() ? context.store().jobs() : jobs_) {
      const RemovedSnapshots one = dry_run_ ? would_remove(context, job, chosen) : prune(context.store(), job, chosen);
      removed.references.insert(removed.references.end(), one.references.begin(), one.references.end());
      removed.bytes += one.bytes;
    }
    print_result(context, removed);
    return removed.references.empty() ? kNothingToDo : kDone;
  }

 private:
  PrunePolicy policy() const {
    PrunePolicy policy;
    policy.keep = keep_ == 0 ? 1 : keep_;
    if (older_than_.empty()) return policy;
    const auto now = std::chrono::system_clock::now().time_since_epoch() - parse_duration(older_than_);
    policy.taken_before = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    return policy;
  }

  // Of its files, without those that other snapshots hold, too.
  static std::uint64_t bytes_of(const SnapshotInfo& snapshot) {
    std::uint64_t bytes = 0;
    for (const store::FileRecord& file : snapshot.manifest.files()) {
      struct stat status{};
      const bool alone = ::lstat((snapshot.location + "/" + file.name()).c_str(), &status) == 0 && status.st_nlink == 1;
      if (alone) bytes += file.size();
    }
    return bytes;
  }

  static RemovedSnapshots would_remove(Context& context, const std::string& job, const PrunePolicy& policy) {
    RemovedSnapshots removed;
    for (const SnapshotInfo& snapshot : choose_to_prune(context.store().list(job), policy)) {
      removed.references.push_back(snapshot.reference);
      removed.bytes += bytes_of(snapshot);
    }
    return removed;
  }

  void print_result(Context& context, const RemovedSnapshots& removed) const {
    if (context.options.json) {
      Json list = Json::array();
      for (const Reference& reference : removed.references) list.push_back(reference.to_string());
      context.print_json({{dry_run_ ? "would_remove" : "removed", list}, {"bytes", removed.bytes}});
      return;
    }
    std::string text;
    for (const Reference& reference : removed.references)
      text += fmt::format("{} {}\n", dry_run_ ? "would remove" : "removed", reference.to_string());
    context.print(text);
    if (text.empty()) return context.say("there is nothing to remove");
    context.say_more(fmt::format("{} {} free", human_bytes(removed.bytes), dry_run_ ? "would become" : "are again"));
  }

  std::vector<std::string> jobs_;
  std::uint64_t keep_ = 0;
  std::string older_than_;
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_prune_verb() { return std::make_unique<PruneVerb>(); }

}  // namespace crs::cli
