#include <fmt/format.h>

#include <vector>

#include "base/error.h"
#include "cli/format.h"
#include "cli/signal_state.h"
#include "cli/verb.h"
#include "store/extents/compression.h"

namespace crs::cli {
namespace {

// Since when a component may be asked for it.
constexpr int kFirstWithCompaction = 3;

class CompactVerb : public Verb {
 public:
  std::string name() const override { return "compact"; }
  std::string summary() const override { return "Make a row of incremental snapshots into one full one"; }
  std::string usage() const override { return "compact [OPTIONS] JOB[@SEQ]"; }
  std::string description() const override {
    return "Writes an incremental snapshot (JOB alone: its newest one) anew, complete and in files of its own, as the\n"
           "job's next snapshot, verifies everything on the way, and prints its name. Once it is safely on disk, the\n"
           "one it was made from and those before it in the row are removed.";
  }
  std::string footer() const override {
    return "\nSnapshots that were made later stay, and so do what they share with those that go and the row itself: "
           "the\n"
           "next incremental snapshot of the program goes on from the new one. One that is complete already is left as "
           "it is.\n\n"
           "Example:\n  crs compact sim\n  crs compact --keep-row --compress zstd sim@7\n\n"
           "Exit statuses:\n  0  done\n  1  failed: nothing was removed\n  2  wrong usage\n"
           "  3  it is complete already, or there is no such snapshot\n  4  the snapshot is damaged: nothing was "
           "removed\n";
  }
  std::string action() const override { return target_.empty() ? "compact" : "compact " + target_; }

  void define(CLI::App& app) override {
    app.add_option("SNAPSHOT", target_, "The snapshot, or a job for its newest one")
        ->type_name("JOB[@SEQ]")
        ->required();
    app.add_flag("--keep-row", keep_row_, "Remove nothing");
    app.add_option("--compress", options_.compression, "How to compress: none, zstd, zstd:LEVEL or auto")
        ->type_name("HOW");
    app.add_option("--io-limit", io_limit_, "Write at most so much in a second: 200MiB/s")->type_name("RATE");
  }

  int execute(Context& context) override {
    ignore_file_size_signal();
    parse_compression(options_.compression);
    if (!io_limit_.empty()) options_.write_limit = parse_rate(io_limit_);
    const SnapshotInfo snapshot = context.store().open(Reference::parse(target_));
    if (!snapshot.manifest.has_parent_sequence()) {
      context.say(fmt::format("{} is complete already", snapshot.reference.to_string()));
      print_result(context, snapshot.reference, snapshot.manifest, {});
      return kNothingToDo;
    }
    const auto writer = write(context, snapshot);
    const RemovedSnapshots removed = keep_row_ ? RemovedSnapshots{} : remove_row(context, snapshot);
    print_result(context, writer->reference(), writer->manifest(), removed);
    return kDone;
  }

 private:
  std::unique_ptr<SnapshotWriter> write(Context& context, const SnapshotInfo& snapshot) const {
    const store::ComponentRecord& component = snapshot.manifest.component();
    const Selection selection = context.components().select(component.name());
    if (selection.status().interface_version.minor < kFirstWithCompaction) {
      throw Error(ErrorKind::Failed, fmt::format("component {} cannot make a row into one snapshot", selection.name()))
          .advise(
              "Restart the program from it and take a snapshot that is not incremental, or install a newer component");
    }
    SnapshotRequest request;
    request.job = snapshot.reference.job;
    request.component = component.name();
    request.component_version = component.version();
    request.interface_version = {static_cast<int>(component.interface_major()),
                                 static_cast<int>(component.interface_minor()),
                                 static_cast<int>(component.interface_patch())};
    request.progress = [&context](const std::string& line) { context.say(line); };
    auto writer = context.store().begin(request);
    writer->take_over(snapshot.manifest);
    selection.module().compact(snapshot.to_snapshot(), *writer, options_);
    if (!writer->committed()) fail(ErrorKind::Failed, "component {} stored no snapshot", selection.name());
    return writer;
  }

  // The snapshot and those it was made from, newest first. The new one is complete, whatever becomes of them.
  static RemovedSnapshots remove_row(Context& context, const SnapshotInfo& newest) {
    RemovedSnapshots removed;
    const std::vector<SnapshotInfo> snapshots = context.store().list(newest.reference.job);
    std::uint64_t wanted = *newest.reference.sequence;
    for (auto snapshot = snapshots.rbegin(); snapshot != snapshots.rend() && wanted != 0; ++snapshot) {
      if (*snapshot->reference.sequence != wanted) continue;
      // Of one whose manifest is damaged nobody knows what it was made from.
      wanted = snapshot->manifest.has_parent_sequence() ? snapshot->manifest.parent_sequence() : 0;
      if (snapshot->damage) {
        context.say(fmt::format("warning: {} stays: {}", snapshot->reference.to_string(), snapshot->damage->what()));
      } else {
        remove(context, snapshot->reference, removed);
      }
    }
    return removed;
  }

  static void remove(Context& context, const Reference& reference, RemovedSnapshots& removed) {
    try {
      const RemovedSnapshots one = context.store().remove(reference);
      removed.references.insert(removed.references.end(), one.references.begin(), one.references.end());
      removed.bytes += one.bytes;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::NotFound)
        context.say(fmt::format("warning: {} stays: {}", reference.to_string(), error.what()));
    }
  }

  static void print_result(Context& context, const Reference& reference, const store::Manifest& manifest,
                           const RemovedSnapshots& removed) {
    if (context.options.json) {
      Json list = Json::array();
      for (const Reference& gone : removed.references) list.push_back(gone.to_string());
      context.print_json({{"reference", reference.to_string()},
                          {"stored_bytes", manifest.stored_bytes()},
                          {"removed", list},
                          {"bytes", removed.bytes}});
      return;
    }
    context.print(reference.to_string() + "\n");
    for (const Reference& gone : removed.references) context.say(fmt::format("removed {}", gone.to_string()));
    context.say_more(fmt::format("{} are free again", human_bytes(removed.bytes)));
  }

  std::string target_;
  std::string io_limit_;
  CompactOptions options_;
  bool keep_row_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_compact_verb() { return std::make_unique<CompactVerb>(); }

}  // namespace crs::cli
