#include "components/native/native.h"

#include <unistd.h>

#include <iterator>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "components/native/compact.h"
#include "engine/checkpoint.h"
#include "engine/resources/processor/processor.h"
#include "engine/restart.h"
#include "store/reference.h"
#include "store/snapshot_reader.h"

namespace crs {
namespace {

constexpr int kPriority = 50;
constexpr const char* kFilesParameter = "files";

// "pages: 3.2 ms, 1048576 bytes", those that are part of another one behind it.
std::string text_of(const Pass& pass) {
  const double milliseconds = static_cast<double>(pass.nanoseconds) / 1e6;
  const std::string place = pass.part_of.empty() ? pass.name : fmt::format("{}, {}", pass.part_of, pass.name);
  const std::string bytes = pass.bytes == 0 ? "" : fmt::format(", {} bytes", pass.bytes);
  return fmt::format("{}: {:.3f} ms{}", place, milliseconds, bytes);
}

// Keeps what the manifest is told.
class NotingSink final : public SnapshotSink {
 public:
  explicit NotingSink(SnapshotSink& sink) : sink_(sink) {}
  const std::string& location() const override { return sink_.location(); }
  void check_wanted() const override { sink_.check_wanted(); }
  void commit(const SnapshotContents& contents) override {
    passes_ = contents.passes;
    sink_.commit(contents);
  }
  const std::vector<Pass>& passes() const noexcept { return passes_; }

 private:
  SnapshotSink& sink_;
  std::vector<Pass> passes_;
};

class NativeModule final : public Module {
 public:
  NativeModule(ComponentOutput output, ComponentSettings settings)
      : output_(std::move(output)), settings_(std::move(settings)) {}

  // Says what it did when the program runs again: whoever reads may be slow.
  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override {
    NotingSink noting(sink);
    const CheckpointOutcome outcome =
        engine::checkpoint(pid == 0 ? ::getpid() : pid, noting, with_rules_for_files(options));
    tell("checkpoint", noting.passes());
    return outcome;
  }

  Examination examine(pid_t pid, const CheckpointOptions& options) override {
    return engine::examine(pid, with_rules_for_files(options));
  }

  // All but the page data, which is verified while it is loaded, was verified by whoever opened the snapshot.
  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override {
    const SnapshotReader reader(snapshot.location);
    if (snapshot.cold_start) rebuild(snapshot, reader.manifest());
    const auto& features = reader.manifest().program().cpu_features();
    engine::check_processor({features.begin(), features.end()});
    RestartedProgram program = engine::restart(snapshot, options);
    tell("restart", program.passes);
    return program;
  }

  void compact(const Snapshot& snapshot, SnapshotSink& sink, const CompactOptions& options) override {
    write_anew(SnapshotReader(snapshot.location), sink, options);
  }

 private:
  static void rebuild(Snapshot& snapshot, const store::Manifest& manifest) {
    snapshot.component = manifest.component().name();
    snapshot.reference = Reference{manifest.job(), manifest.sequence()}.to_string();
    snapshot.cold_start = false;
  }

  void tell(const char* operation, const std::vector<Pass>& passes) const {
    if (!output_) return;
    for (const Pass& pass : passes) output_(1, fmt::format("{}: {}", operation, text_of(pass)));
  }

  CheckpointOptions with_rules_for_files(CheckpointOptions options) const {
    if (!settings_ || !options.files.empty()) return options;
    std::istringstream words(std::get<std::string>(settings_(kFilesParameter)));
    options.files = {std::istream_iterator<std::string>(words), std::istream_iterator<std::string>()};
    return options;
  }

  ComponentOutput output_;
  ComponentSettings settings_;
};

class NativeComponent final : public Component {
 public:
  void set_output(ComponentOutput output) override { output_ = std::move(output); }
  std::string name() const override { return "native"; }
  std::string version() const override { return CRS_VERSION; }
  std::string description() const override { return "CRS's own engine: any program, unmodified, without root"; }
  Capabilities capabilities() const override {
    Capabilities capabilities;
    capabilities.process_ids = true;
    capabilities.threads = true;
    capabilities.pipes = true;
    capabilities.files = true;
    capabilities.local_sockets = true;
    capabilities.other_processes = true;
    capabilities.dead_sockets = true;
    return capabilities;
  }
  QueryResult query() override { return {std::make_unique<NativeModule>(output_, settings_), kPriority, {}}; }
  std::vector<ComponentParameter> parameters() const override {
    return {{kFilesParameter, std::string(),
             "What is kept of regular files, where --files does not say: rules as there, with spaces between them."}};
  }
  void set_settings(ComponentSettings settings) override { settings_ = std::move(settings); }

 private:
  ComponentOutput output_;
  ComponentSettings settings_;
};

}  // namespace

std::unique_ptr<Component> make_native_component() { return std::make_unique<NativeComponent>(); }

}  // namespace crs
