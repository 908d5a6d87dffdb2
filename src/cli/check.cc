#include <fmt/format.h>

#include <algorithm>

#include "cli/verb.h"
#include "engine/machine/machine.h"

namespace crs::cli {
namespace {

using engine::MachineFact;

Json json_of(const MachineFact& fact) {
  return {{"name", fact.name},
          {"available", fact.available},
          {"essential", fact.essential},
          {"detail", fact.detail},
          {"consequence", fact.available ? "" : fact.consequence}};
}

std::string text_of(const MachineFact& fact) {
  std::string text =
      fmt::format("{:<8} {:<30} {}\n", fact.available ? "ok" : "missing", fact.name, printable(fact.detail));
  if (!fact.available) text += fmt::format("{:<8} {}: {}\n", "", fact.essential ? "needed" : "so", fact.consequence);
  return text;
}

class CheckVerb : public Verb {
 public:
  std::string name() const override { return "check"; }
  std::string summary() const override { return "Say what this machine can do, and what follows where it cannot"; }
  std::string usage() const override { return "check [OPTIONS]"; }
  std::string description() const override {
    return "Tries out every kernel interface that checkpoints and restarts need, as the calling user, and the store's "
           "place.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs check\n  crs check --json --store /scratch/snapshots\n\n"
           "Exit statuses:\n  0  programs can be checkpointed and restarted here\n  1  something that is needed is "
           "missing\n"
           "  2  wrong usage\n";
  }
  std::string action() const override { return "check this machine"; }
  void define(CLI::App& app) override { static_cast<void>(app); }

  int execute(Context& context) override {
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
    for (const MachineFact& fact : facts) list.push_back(json_of(fact));
    context.print_json(Json{{"usable", usable}, {"facts", list}});
  }

  static void print_facts(Context& context, const std::vector<MachineFact>& facts, bool usable) {
    std::string text;
    for (const MachineFact& fact : facts) text += text_of(fact);
    text += usable ? "Programs can be checkpointed and restarted here.\n" : "Something that is needed is missing.\n";
    context.print(text);
  }
};

}  // namespace

std::unique_ptr<Verb> make_check_verb() { return std::make_unique<CheckVerb>(); }

}  // namespace crs::cli
