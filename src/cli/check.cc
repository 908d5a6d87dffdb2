#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>

#include "cli/examination.h"
#include "cli/help.h"
#include "cli/jobs.h"
#include "cli/verb.h"
#include "engine/machine/machine.h"
#include "engine/procfs/tree.h"

namespace crs::cli {
namespace {

using engine::MachineFact;

Json fact_json(const MachineFact& fact) {
  return {{"name", fact.name},
          {"available", fact.available},
          {"essential", fact.essential},
          {"detail", fact.detail},
          {"consequence", fact.available ? "" : fact.consequence}};
}

std::string fact_text(const MachineFact& fact) {
  std::string text =
      fmt::format("{:<8} {:<30} {}\n", fact.available ? "ok" : "missing", fact.name, printable(fact.detail));
  if (!fact.available) text += fmt::format("{:<8} {}: {}\n", "", fact.essential ? "needed" : "so", fact.consequence);
  return text;
}

class CheckVerb : public Verb {
 public:
  std::string name() const override { return "check"; }
  std::string summary() const override { return "Say what this machine can do, and what follows where it cannot"; }
  std::string usage() const override { return "check [OPTIONS] [JOB|PID]"; }
  std::string description() const override {
    return "Tries out every kernel interface that checkpoints and restarts need, as the calling user, and the store's "
           "place.\n"
           "With a running job or a process: looks whether that program, with its descendants, can be checkpointed.\n"
           "Nothing is written, and it is stopped for no longer than that takes.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs check\n  crs check --json --store /scratch/snapshots\n  crs check 4711\n\n"
           "Exit statuses:\n  0  programs can be checkpointed and restarted here; the program can be\n"
           "  1  something that is needed is missing; the program cannot be, and why is said\n"
           "  2  wrong usage\n  3  no such job or process\n";
  }
  std::string action() const override { return target_.empty() ? "check this machine" : "check " + target_; }
  void define(CLI::App& app) override {
    app.add_option("TARGET", target_, "A running job's name, or a process id")
        ->type_name("JOB|PID")
        ->check(not_empty("a job's name is not empty"));
  }

  int execute(Context& context) override {
    if (!target_.empty()) {
      ::prctl(PR_SET_NAME, engine::kCheckpointName);
      return examine_program(context, find_target(context.store(), target_), {});
    }
    std::vector<MachineFact> facts = engine::examine_machine();
    std::ranges::move(engine::examine_store_directory(context.store().location()), std::back_inserter(facts));
    const bool usable =
        std::ranges::all_of(facts, [](const MachineFact& fact) { return fact.available || !fact.essential; });
    if (context.options.json) {
      print_facts_as_json(context, facts, usable);
    } else {
      print_facts(context, facts, usable);
    }
    return usable ? kDone : kFailed;
  }

 private:
  static void print_facts_as_json(Context& context, const std::vector<MachineFact>& facts, bool usable) {
    Json list = Json::array();
    for (const MachineFact& fact : facts) list.push_back(fact_json(fact));
    context.print_json(Json{{"usable", usable}, {"facts", list}});
  }

  static void print_facts(Context& context, const std::vector<MachineFact>& facts, bool usable) {
    std::string text;
    for (const MachineFact& fact : facts) text += fact_text(fact);
    text += usable ? "Programs can be checkpointed and restarted here.\n" : "Something that is needed is missing.\n";
    context.print(text);
  }

  std::string target_;
};

}  // namespace

std::unique_ptr<Verb> make_check_verb() { return std::make_unique<CheckVerb>(); }

}  // namespace crs::cli
