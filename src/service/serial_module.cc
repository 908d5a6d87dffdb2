#include "service/serial_module.h"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "base/cancellation.h"
#include "base/error.h"
#include "service/after_fork.h"
#include "service/limited_wait.h"

namespace crs {

struct SerialModule::Queue {
  Queue* of_parent = nullptr;  // never touched again; leak checkers find it here
  std::uint64_t generation = fork_generation();
  std::mutex mutex;
  std::condition_variable over;
  std::thread::id at_work;  // in an operation; a function of the program's that is called there may begin another
  int operations = 0;       // of that thread
};

class SerialModule::Turn {
 public:
  explicit Turn(SerialModule& serial) : queue_(serial.queue()) {
    const CancellationDeferred deferred;
    std::unique_lock lock(queue_.mutex);
    const auto is_free = [&] { return queue_.operations == 0 || queue_.at_work == std::this_thread::get_id(); };
    if (!wait(lock, serial.wait_limit_, is_free)) {
      throw Error(ErrorKind::Failed,
                  fmt::format("component {} is still at work for another thread after {} s", serial.component_,
                              std::chrono::duration<double>(serial.wait_limit_).count()))
          .advise("The parameter crs_wait_limit sets the time limit");
    }
    queue_.at_work = std::this_thread::get_id();
    ++queue_.operations;
  }
  ~Turn() {
    // Forked in the middle of the operation: the queue is the parent's.
    if (queue_.generation != fork_generation()) return;
    const std::lock_guard lock(queue_.mutex);
    if (--queue_.operations == 0) queue_.over.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  template <typename Condition>
  bool wait(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds limit, const Condition& condition) {
    const CancellationAllowed allowed;
    return wait_limited(queue_.over, lock, limit, condition);
  }

  Queue& queue_;
};

SerialModule::SerialModule(Module& module, std::string component, std::chrono::nanoseconds wait_limit)
    : module_(module), component_(std::move(component)), wait_limit_(wait_limit), queue_(new Queue) {}

SerialModule::~SerialModule() {
  Queue* const last = queue_.load();
  // What waits in a parent's never leaves it.
  if (last->generation == fork_generation()) delete last;
}

SerialModule::Queue& SerialModule::queue() {
  Queue* known = queue_.load();
  if (known->generation == fork_generation()) return *known;
  auto made = std::make_unique<Queue>();
  made->of_parent = known;
  return queue_.compare_exchange_strong(known, made.get()) ? *made.release() : *known;
}

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
