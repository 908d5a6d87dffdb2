// A component's operations, one thread at a time: what components rely on (crs/component.h), whoever calls them. Those
// about critical sections any thread may call at any time.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "crs/component.hpp"

namespace crs {

class SerialModule final : public Module {
 public:
  // `module` does the work; it must outlive this. Whoever waits longer than `wait_limit` for another thread's operation
  // gets an Error.
  SerialModule(Module& module, std::string component, std::chrono::nanoseconds wait_limit);
  ~SerialModule() override;
  SerialModule(const SerialModule&) = delete;
  SerialModule& operator=(const SerialModule&) = delete;

  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override;
  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override;
  Examination examine(pid_t pid, const CheckpointOptions& options) override;
  void prelaunch(LaunchPlan& plan) override;
  void compact(const Snapshot& snapshot, SnapshotSink& sink, const CompactOptions& options) override;

  void disable_checkpoint() override { module_.disable_checkpoint(); }
  void enable_checkpoint() override { module_.enable_checkpoint(); }
  void register_thread() override { module_.register_thread(); }

 private:
  struct Queue;
  class Turn;
  Queue& queue();

  Module& module_;
  std::string component_;
  std::chrono::nanoseconds wait_limit_;
  // Of this process. A process that was forked makes one of its own: in the other the lock may be held, and threads may
  // wait, that are not there.
  std::atomic<Queue*> queue_;
};

}  // namespace crs
