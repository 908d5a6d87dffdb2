// A component's operations, one thread at a time: what components rely on (crs/component.h), whoever calls them. Those
// about critical sections any thread may call at any time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "crs/component.hpp"

namespace crs {

class SerialModule final : public Module {
 public:
  // `module` does the work; it must outlive this. Whoever waits longer than `wait_limit` for another thread's operation
  // gets an Error.
  SerialModule(Module& module, std::string component, std::chrono::nanoseconds wait_limit)
      : module_(module), component_(std::move(component)), wait_limit_(wait_limit) {}

  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override;
  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override;
  Examination examine(pid_t pid, const CheckpointOptions& options) override;
  void prelaunch(LaunchPlan& plan) override;
  void compact(const Snapshot& snapshot, SnapshotSink& sink, const CompactOptions& options) override;

  void disable_checkpoint() override { module_.disable_checkpoint(); }
  void enable_checkpoint() override { module_.enable_checkpoint(); }
  void register_thread() override { module_.register_thread(); }

 private:
  class Turn;

  Module& module_;
  std::string component_;
  std::chrono::nanoseconds wait_limit_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::thread::id at_work_;  // in an operation; a function of the program's that is called there may begin another
  int operations_ = 0;       // of that thread
  std::uint64_t fork_generation_ = 0;  // of the process whose thread that is
};

}  // namespace crs
