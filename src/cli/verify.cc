#include <fmt/format.h>

#include "cli/format.h"
#include "cli/snapshot_verb.h"

namespace crs::cli {
namespace {

class VerifyVerb : public SnapshotVerb {
 public:
  std::string name() const override { return "verify"; }
  std::string summary() const override { return "Check every byte of a snapshot"; }
  std::string usage() const override { return "verify [OPTIONS] JOB[@SEQ]|DIR"; }
  std::string description() const override {
    return "Checks that every file of a snapshot (JOB alone: its newest one) is there, complete, and has its "
           "checksum,\n"
           "the program's memory included. Names everything that is wrong.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs verify sim@3 && cp -r ~/.local/state/crs/sim/3 /backup/\n  crs verify /backup/3\n\n"
           "Exit statuses:\n  0  sound\n  1  failed: it could not be checked\n  2  wrong usage\n  3  no such snapshot\n"
           "  4  the snapshot is damaged\n";
  }

  int execute(Context& context) override {
    const SnapshotInfo snapshot = open(context);
    const std::vector<Error> damage = SnapshotReader(snapshot.location).find_damage();
    // What somebody has removed meanwhile is not damaged.
    if (!damage.empty() && !is_named_by_location()) context.store().check_present(snapshot.reference);
    if (context.options.json) {
      print_as_json(context, snapshot, damage);
    } else if (damage.empty()) {
      context.print(fmt::format("{}: sound, {} in {} files\n", snapshot.reference.to_string(),
                                human_bytes(snapshot.manifest.stored_bytes()), snapshot.manifest.files_size()));
    }
    for (const Error& fault : damage)
      context.say(fmt::format("{} is damaged: {}", snapshot.reference.to_string(), fault.what()));
    if (!damage.empty() && !is_named_by_location() && !context.options.json)
      context.say(advice_after_damage(context, snapshot.reference));
    return damage.empty() ? kDone : kDamaged;
  }

 private:
  static void print_as_json(Context& context, const SnapshotInfo& snapshot, const std::vector<Error>& damage) {
    Json faults = Json::array();
    for (const Error& fault : damage) faults.push_back(fault.what());
    context.print_json({{"reference", snapshot.reference.to_string()},
                        {"location", snapshot.location},
                        {"sound", damage.empty()},
                        {"files", snapshot.manifest.files_size()},
                        {"stored_bytes", snapshot.manifest.stored_bytes()},
                        {"damage", faults}});
  }
};

}  // namespace

std::unique_ptr<Verb> make_verify_verb() { return std::make_unique<VerifyVerb>(); }

}  // namespace crs::cli
