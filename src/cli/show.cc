#include <fmt/format.h>

#include <optional>

#include "cli/snapshot_text.h"
#include "cli/snapshot_verb.h"

namespace crs::cli {
namespace {

class ShowVerb : public SnapshotVerb {
 public:
  std::string name() const override { return "show"; }
  std::string summary() const override { return "Show everything that is known of a snapshot"; }
  std::string usage() const override { return "show [OPTIONS] JOB[@SEQ]|DIR"; }
  std::string description() const override {
    return "Shows what the manifest of a snapshot (JOB alone: its newest one) says: the program, where and when it "
           "was\n"
           "taken, how long each pass took and how long the program was paused, files, warnings; and which layers of\n"
           "the program took part, with the time of each in each phase, after the snapshot and at the last restart "
           "too.";
  }
  std::string footer() const override {
    return "\nExample:\n  crs show sim@3\n  crs show sim --json | jq .pause_nanoseconds\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage\n  3  no such snapshot\n  4  its manifest is "
           "damaged\n";
  }

  int execute(Context& context) override {
    const SnapshotInfo snapshot = open(context);
    // Of a snapshot elsewhere the store knows nothing.
    const auto times = is_named_by_location() ? std::nullopt : times_of(context, snapshot.reference);
    if (context.options.json) {
      Json json = json_of(snapshot);
      json["layer_times"] = layers_json(times);
      context.print_json(json);
    } else {
      context.print(text_of(snapshot) + layers_text(snapshot.manifest, times));
    }
    return kDone;
  }

 private:
  // They are no part of the snapshot: without them it is as good.
  static std::optional<store::LayerTimes> times_of(Context& context, const Reference& snapshot) {
    try {
      return read_layer_times(context.store(), snapshot);
    } catch (const Error& error) {
      context.say(fmt::format("warning: how long the layers took is unknown: {}", error.what()));
      return std::nullopt;
    }
  }
};

}  // namespace

std::unique_ptr<Verb> make_show_verb() { return std::make_unique<ShowVerb>(); }

}  // namespace crs::cli
