#include "components/native/native.h"

#include <unistd.h>

#include "base/error.h"
#include "engine/checkpoint.h"
#include "engine/resources/processor/processor.h"
#include "engine/restart.h"
#include "store/snapshot_reader.h"

namespace crs {
namespace {

constexpr int kPriority = 50;

class NativeModule final : public Module {
 public:
  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override {
    return engine::checkpoint(pid == 0 ? ::getpid() : pid, sink, options);
  }

  // All but the page data, which is verified while it is loaded, was verified by whoever opened the snapshot.
  RestartedProgram restart(const Snapshot& snapshot, const RestartOptions& options) override {
    const SnapshotReader reader(snapshot.location);
    const auto& features = reader.manifest().program().cpu_features();
    engine::check_processor({features.begin(), features.end()});
    return engine::restart(snapshot, options);
  }
};

class NativeComponent final : public Component {
 public:
  std::string name() const override { return "native"; }
  std::string version() const override { return CRS_VERSION; }
  std::string description() const override { return "CRS's own engine: any program, unmodified, without root"; }
  Capabilities capabilities() const override {
    Capabilities capabilities;
    capabilities.process_ids = true;
    capabilities.threads = true;
    capabilities.pipes = true;
    capabilities.files = true;
    capabilities.other_processes = true;
    return capabilities;
  }
  QueryResult query() override { return {std::make_unique<NativeModule>(), kPriority, {}}; }
};

}  // namespace

std::unique_ptr<Component> make_native_component() { return std::make_unique<NativeComponent>(); }

}  // namespace crs
