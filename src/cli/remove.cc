#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cli/format.h"
#include "cli/verb.h"

namespace crs::cli {
namespace {

class RemoveVerb : public Verb {
 public:
  std::string name() const override { return "remove"; }
  std::string summary() const override { return "Remove snapshots"; }
  std::string usage() const override { return "remove [OPTIONS] JOB@SEQ...  |  remove [OPTIONS] --all JOB"; }
  std::string description() const override {
    return "Removes the snapshots that are named, or with --all every snapshot of a job. Later snapshots keep what\n"
           "they share with them. Parts of your files that restarts set aside are never removed.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs remove sim@1 sim@2\n  crs remove --all sim\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage\n  3  no such "
           "snapshot or job\n";
  }
  std::string action() const override {
    if (!job_.empty()) return "remove the snapshots of " + job_;
    return targets_.empty() ? "remove" : "remove " + current_;
  }
  void define(CLI::App& app) override {
    auto* snapshots = app.add_option("SNAPSHOT", targets_, "The snapshots")->type_name("JOB@SEQ...");
    app.add_option("--all", job_, "Every snapshot of this job")->type_name("JOB")->excludes(snapshots);
  }

  int execute(Context& context) override {
    if (targets_.empty() && job_.empty()) {
      throw Error(ErrorKind::Usage, "no snapshot is named")
          .advise("Write 'crs remove JOB@SEQ' or 'crs remove --all JOB'");
    }
    RemovedSnapshots removed;
    if (!job_.empty()) {
      check_job_name(job_);
      removed = context.store().remove_job(job_);
    } else {
      remove_named(context, removed);
    }
    print_result(context, removed);
    return kDone;
  }

 private:
  // All names are looked at before the first snapshot goes.
  void remove_named(Context& context, RemovedSnapshots& removed) {
    std::vector<Reference> references;
    for (const std::string& target : targets_) {
      current_ = target;
      const Reference reference = Reference::parse(target);
      if (!reference.sequence) {
        throw Error(ErrorKind::Usage, fmt::format("'{}' names a job, not a snapshot", target))
            .advise(fmt::format("Write 'crs remove {0}@SEQ', or 'crs remove --all {0}' for all of them", target));
      }
      context.store().check_present(reference);
      const bool named_before = std::ranges::any_of(
          references, [&](const Reference& other) { return other.to_string() == reference.to_string(); });
      if (!named_before) references.push_back(reference);
    }
    for (const Reference& reference : references) remove_one(context, reference, removed);
  }

  void remove_one(Context& context, const Reference& reference, RemovedSnapshots& removed) {
    current_ = reference.to_string();
    try {
      const RemovedSnapshots one = context.store().remove(reference);
      removed.references.insert(removed.references.end(), one.references.begin(), one.references.end());
      removed.bytes += one.bytes;
    } catch (const Error&) {
      for (const Reference& gone : removed.references) context.say(fmt::format("removed {}", gone.to_string()));
      throw;
    }
  }

  static void print_result(Context& context, const RemovedSnapshots& removed) {
    if (context.options.json) {
      Json list = Json::array();
      for (const Reference& reference : removed.references) list.push_back(reference.to_string());
      context.print_json({{"removed", list}, {"bytes", removed.bytes}, {"set_aside", removed.set_aside}});
    } else {
      std::string text;
      for (const Reference& reference : removed.references) text += fmt::format("removed {}\n", reference.to_string());
      context.print(text);
      context.say_more(fmt::format("{} are free again", human_bytes(removed.bytes)));
    }
    if (!removed.set_aside.empty())
      context.say(fmt::format("parts of your files that restarts set aside are still in {}", removed.set_aside));
  }

  std::vector<std::string> targets_;
  std::string job_;
  std::string current_;
};

}  // namespace

std::unique_ptr<Verb> make_remove_verb() { return std::make_unique<RemoveVerb>(); }

}  // namespace crs::cli
