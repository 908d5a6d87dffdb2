#include "service/native_in_program.h"

#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "service/picture_sink.h"

namespace crs {
namespace {

constexpr int kPriority = 50;

class NativeInProgram final : public Module {
 public:
  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override {
    auto* place = dynamic_cast<PictureSink*>(&sink);
    if (place == nullptr) fail(ErrorKind::Failed, "component native needs a crs that takes the picture");
    return place->picture(pid == ::getpid() ? 0 : pid, options);
  }

  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& /*options*/) override {
    throw Error(ErrorKind::Failed, fmt::format("component native in a program cannot restart {}", snapshot.reference))
        .advise("Use 'crs restart'");
  }
};

class NativeInProgramComponent final : public Component {
 public:
  explicit NativeInProgramComponent(std::string helper) : helper_(std::move(helper)) {}
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
    capabilities.dead_sockets = true;
    capabilities.other_processes = true;
    return capabilities;
  }
  QueryResult query() override {
    if (helper_.empty()) return {nullptr, 0, "there is no crs that could take the picture (parameter crs_helper)"};
    return {std::make_unique<NativeInProgram>(), kPriority, {}};
  }

 private:
  std::string helper_;
};

}  // namespace

std::unique_ptr<Component> make_native_in_program(std::string helper) {
  return std::make_unique<NativeInProgramComponent>(std::move(helper));
}

}  // namespace crs
