#include "service/serial_module.h"

#include "base/cancellation.h"
#include "base/error.h"
#include "service/after_fork.h"
#include "service/limited_wait.h"

namespace crs {

class SerialModule::Turn {
 public:
  explicit Turn(SerialModule& serial) : serial_(serial) {
    const CancellationDeferred deferred;
    std::unique_lock lock(serial_.mutex_);
    // In a process that was forked meanwhile there is no such thread.
    if (serial_.fork_generation_ != fork_generation()) serial_.operations_ = 0;
    const auto is_free = [&] { return serial_.operations_ == 0 || serial_.at_work_ == std::this_thread::get_id(); };
    if (!wait_limited(serial_.over_, lock, serial_.wait_limit_, is_free)) {
      throw Error(ErrorKind::Failed,
                  fmt::format("component {} is still at work for another thread after {} s", serial_.component_,
                              std::chrono::duration<double>(serial_.wait_limit_).count()))
          .advise("The parameter crs_wait_limit sets the time limit");
    }
    serial_.at_work_ = std::this_thread::get_id();
    serial_.fork_generation_ = fork_generation();
    ++serial_.operations_;
  }
  ~Turn() {
    const std::lock_guard lock(serial_.mutex_);
    if (--serial_.operations_ == 0) serial_.over_.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  SerialModule& serial_;
};

CheckpointOutcome SerialModule::checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) {
  const Turn turn(*this);
  return module_.checkpoint(pid, sink, options);
}

RestartedProgram SerialModule::restart(Snapshot& snapshot, const RestartOptions& options) {
  const Turn turn(*this);
  return module_.restart(snapshot, options);
}

Examination SerialModule::examine(pid_t pid, const CheckpointOptions& options) {
  const Turn turn(*this);
  return module_.examine(pid, options);
}

void SerialModule::prelaunch(LaunchPlan& plan) {
  const Turn turn(*this);
  module_.prelaunch(plan);
}

void SerialModule::compact(const Snapshot& snapshot, SnapshotSink& sink, const CompactOptions& options) {
  const Turn turn(*this);
  module_.compact(snapshot, sink, options);
}

}  // namespace crs
