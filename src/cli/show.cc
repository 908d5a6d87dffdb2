#include "cli/snapshot_text.h"
#include "cli/snapshot_verb.h"

namespace crs::cli {
namespace {

class ShowVerb : public SnapshotVerb {
 public:
  std::string name() const override { return "show"; }
  std::string summary() const override { return "Show everything that is known of a snapshot"; }
  std::string usage() const override { return "show [OPTIONS] JOB[@SEQ]"; }
  std::string description() const override {
    return "Shows what the manifest of a snapshot (JOB alone: its newest one) says: the program, where and when it "
           "was\n"
           "taken, how long each pass took and how long the program was paused, files, warnings.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs show sim@3\n  crs show sim --json | jq .pause_nanoseconds\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage\n  3  no such snapshot\n  4  its manifest is "
           "damaged\n";
  }

  int execute(Context& context) override {
    const SnapshotInfo snapshot = open(context);
    if (context.options.json) {
      context.print_json(json_of(snapshot));
    } else {
      context.print(text_of(snapshot));
    }
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Verb> make_show_verb() { return std::make_unique<ShowVerb>(); }

}  // namespace crs::cli
