#include "components/none/none.h"

#include <unistd.h>

#include <utility>

#include "base/error.h"

namespace crs {
namespace {

constexpr int kLowestPriority = 1;
constexpr const char* kRemark = "stores nothing: a checkpoint leaves no snapshot and nothing can be restarted";

class NoneModule : public Module {
 public:
  explicit NoneModule(ComponentOutput output) : output_(std::move(output)) {}

  void init() override {
    if (output_) output_(0, kRemark);
  }

  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override {
    static_cast<void>(sink);
    if (pid != 0 && pid != ::getpid()) {
      throw Error(ErrorKind::Failed, "component none stores nothing, so it cannot checkpoint another process")
          .advise("'crs components' lists those that can");
    }
    return {options.after == AfterCheckpoint::Kill ? State::Term : State::Continue, 0};
  }

  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override {
    static_cast<void>(options);
    fail(ErrorKind::Failed, "component none stores nothing, so there is nothing in {} to restart", snapshot.reference);
  }

 private:
  ComponentOutput output_;
};

class NoneComponent : public Component {
 public:
  void set_output(ComponentOutput output) override { output_ = std::move(output); }
  std::string name() const override { return "none"; }
  std::string version() const override { return "1.0.0"; }
  std::string description() const override { return "Does all work around a checkpoint and stores nothing."; }
  Capabilities capabilities() const override { return {}; }
  QueryResult query() override { return {std::make_unique<NoneModule>(output_), kLowestPriority, kRemark}; }

 private:
  ComponentOutput output_;
};

}  // namespace

std::unique_ptr<Component> make_none_component() { return std::make_unique<NoneComponent>(); }

}  // namespace crs
