// The service of a program that takes part in its own checkpoints: its layers are told, in order, before a snapshot and
// after a restart; its threads can keep a snapshot from being taken for a moment; its descriptors are accounted for.
//
//   crs::Service service(module, ...);
//   auto registration = service.register_layer("messages", layer);   // lowest layer first
//   crs::Checkpointed outcome = service.checkpoint();                // returns twice: in this process and in the
//   restarted one
//
// C++17. Every operation may be called from any thread unless it says otherwise. A process that was made by fork(2) has
// no service: there every operation throws an Error.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "crs/component.hpp"
#include "crs/critical_sections.hpp"
#include "crs/layer.hpp"
#include "crs/ledger.hpp"

namespace [[gnu::visibility("default")]] crs {

// How far a request has come, for the one who made it.
struct Progress {
  enum class Stage { Accepted, Delayed, Quiescing, Snapshotting, Done, Failed };
  Stage stage = Stage::Accepted;
  std::string text;  // why it is delayed, which layer is at it, why it failed, or the snapshot's reference
};

// "accepted", "delayed", "quiescing", "snapshotting", "done", "failed".
const char* name_of(Progress::Stage stage) noexcept;

// How long one layer took for one state.
struct LayerTime {
  std::string layer;
  State state = State::Running;
  std::uint64_t nanoseconds = 0;
};

struct ServiceCheckpointOptions {
  AfterCheckpoint after = AfterCheckpoint::Continue;
  // For critical sections to end and for layers that answer NotYet, together.
  std::chrono::nanoseconds time_limit = std::chrono::seconds(60);
  std::vector<std::string> leave_out;  // as in CheckpointOptions
  // Called by the thread that carries out the checkpoint, without a lock; may be empty. In a restarted process it is
  // not called.
  std::function<void(const Progress&)> progress;
};

// What whoever restarted this process had to say to it.
struct RestartNews {
  std::string reference;                           // of the snapshot that the process was made from
  std::string job;                                 // the name of its job from now on
  std::map<std::string, std::string> environment;  // values that count from now on: Service::environment()
  std::vector<MemoryRange> excluded;               // areas that were not saved and read as zero
};

// What became of a checkpoint that did not fail.
struct Checkpointed {
  State state =
      State::Continue;    // Continue, Restart (this is the restarted process) or Term (the process is about to end)
  std::string reference;  // JOB@SEQ; "" where the component stores nothing
  std::vector<LayerTime> layers;       // in the order in which they were told
  std::vector<std::string> forgotten;  // Restart: claimed descriptors that did not come back
};

// Where a checkpoint of this process goes; made anew for each.
class SnapshotPlace {
 public:
  virtual ~SnapshotPlace() = default;
  virtual SnapshotSink& sink() = 0;
  virtual std::string reference() const = 0;  // valid after sink().commit()
};
using MakeSnapshotPlace = std::function<std::unique_ptr<SnapshotPlace>()>;

class [[gnu::visibility("hidden")]] LayerStack;
class [[gnu::visibility("hidden")]] Round;

// A layer's membership, ended by its destructor: that waits while the layer is being told something by another thread,
// so that the layer (and the library that its code lies in) may go away afterwards. The service must outlive it.
class LayerRegistration {
 public:
  LayerRegistration() = default;
  LayerRegistration(LayerStack& stack, std::uint64_t id) : stack_(&stack), id_(id) {}
  LayerRegistration(LayerRegistration&& other) noexcept;
  LayerRegistration& operator=(LayerRegistration&& other) noexcept;
  ~LayerRegistration();

 private:
  LayerStack* stack_ = nullptr;
  std::uint64_t id_ = 0;
};

class Service {
 public:
  // `module` does the checkpoints (already initialised) and brings back what `capabilities` says. It must outlive the
  // service.
  Service(Module& module, Capabilities capabilities, MakeSnapshotPlace make_place);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Puts a layer on top of those registered so far. While a checkpoint or restart is under way it takes part from the
  // next one on. The layer must outlive the registration. The name is for people; it need not be unique.
  [[nodiscard]] LayerRegistration register_layer(std::string name, Layer& layer);

  // The names of all layers, lowest first.
  std::vector<std::string> layers() const;

  // Takes a snapshot of this process: waits its turn behind other checkpoints, for critical sections, and tells the
  // layers. Returns twice. Throws the first failure; then every layer that was prepared has been told State::Error, and
  // the program goes on. If a layer fails after the snapshot (at Continue, RestartPre, Restart), the others still get
  // their turn, and then that failure is thrown.
  Checkpointed checkpoint(const ServiceCheckpointOptions& options = {});

  // Makes a layer that answered NotYet be asked again at once.
  void ask_again();

  State state() const;
  Ledger& ledger() noexcept { return ledger_; }
  CriticalSections& critical_sections() noexcept { return sections_; }

 private:
  class Turn;
  void require_own_process() const;
  void set_state(State state);
  void pause_until(std::chrono::steady_clock::time_point until);
  Checkpointed checkpoint_in_turn(const ServiceCheckpointOptions& options);
  CheckpointOutcome take_snapshot(SnapshotPlace& place, const ServiceCheckpointOptions& options);
  void finish(Round& round, const CheckpointOutcome& outcome, Checkpointed& result);

  Module& module_;
  Capabilities capabilities_;
  MakeSnapshotPlace make_place_;
  std::atomic<pid_t> process_;  // changes at a restart with new ids
  Ledger ledger_;
  CriticalSections sections_;
  std::unique_ptr<LayerStack> stack_;

  mutable std::mutex mutex_;
  std::condition_variable turn_over_;
  std::uint64_t next_ticket_ = 0;
  std::uint64_t now_serving_ = 0;
  State state_ = State::Running;
  std::condition_variable asked_again_;
  std::uint64_t ask_again_count_ = 0;
  std::uint64_t ask_again_seen_ = 0;
};

}  // namespace crs
