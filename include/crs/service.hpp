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
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
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

// What whoever restarted this process had to say to it.
struct RestartNews {
  std::string reference;                           // of the snapshot that the process was made from
  std::string job;                                 // the name of its job from now on
  std::map<std::string, std::string> environment;  // values that count from now on: Service::environment()
  std::vector<MemoryRange> excluded;               // areas that were not saved and read as zero
};

// Where a checkpoint of this process goes; made anew for each, when all layers are prepared.
class SnapshotPlace {
 public:
  virtual ~SnapshotPlace() = default;
  // Comes first: what the layers needed so far, for the manifest.
  virtual void prepared(const std::vector<LayerTime>& /*layers*/) {}
  virtual SnapshotSink& sink() = 0;
  // Valid after the commit; in a restarted process, too, where it is known.
  virtual std::string reference() const = 0;
  // Of the directory, with the reference; "" where it is unknown.
  virtual std::string final_location() const { return ""; }
  // From sink() on, of any thread: whether this process is one that the snapshot has become. False where the component
  // brings no memory back.
  virtual bool is_restarted() const { return false; }
  // In a restarted process: what the restart says, if it says anything.
  virtual std::optional<RestartNews> news() const { return std::nullopt; }
  // Comes last, unless there was no snapshot: what all layers needed, and what went wrong in those that failed.
  virtual void finished(const std::vector<LayerTime>& /*layers*/, const std::vector<std::string>& /*failures*/) {}
  // Before finished(), where this process is to be stopped after its checkpoint, if the component has not done so.
  virtual void stop_when_finished() {}
  // Before finished(), where this process and all others of its program are to end after it.
  virtual void end_when_finished() {}
  // After finished(), where this process is to end now that its snapshot is complete. Need not return.
  virtual void end_process() {}
  // Before sink(), of a program that ends with its checkpoint: how long the layers may take with that.
  virtual void limit_end(std::chrono::nanoseconds /*limit*/) {}
};
using MakeSnapshotPlace = std::function<std::unique_ptr<SnapshotPlace>()>;

struct ServiceCheckpointOptions {
  // Kill ends the program also where its component stores nothing (none, for testing layers).
  AfterCheckpoint after = AfterCheckpoint::Continue;
  // For critical sections to end and for layers that answer NotYet, together; and as long again for all layers to be
  // told that the program ends, where it does.
  std::chrono::nanoseconds time_limit = std::chrono::seconds(60);
  // For the checkpoints that were asked for earlier.
  std::chrono::nanoseconds turn_limit = std::chrono::minutes(10);
  std::vector<std::string> leave_out;  // as in CheckpointOptions
  std::vector<MemoryRange> exclude;    // beside those of Service::exclude_memory()
  // How the snapshot is made, as in CheckpointOptions.
  bool single = false;
  TcpPolicy tcp = TcpPolicy::Reset;
  bool incremental = false;
  std::string compression{};
  std::uint64_t write_limit = 0;
  std::vector<std::string> files{};
  // Called by the thread that carries out the checkpoint, without a lock; may be empty. In a restarted process it is
  // not called.
  std::function<void(const Progress&)> progress;
  // Whether the one who asked has given up: asked while the checkpoint waits for something, whenever
  // Service::look_again() is called. May be empty.
  std::function<bool()> given_up;
  // Where this one goes, instead of to the service's own place: somebody else asks for it. May be empty.
  MakeSnapshotPlace make_place;
};

// What became of a checkpoint that did not fail.
struct Checkpointed {
  State state =
      State::Continue;    // Continue, Restart (this is the restarted process) or Term (the process is about to end)
  std::string reference;  // JOB@SEQ; "" where the component stores nothing
  std::vector<LayerTime> layers;       // in the order in which they were told
  std::vector<std::string> forgotten;  // Restart: claimed descriptors that did not come back
};

class [[gnu::visibility("hidden")]] LayerStack;
class [[gnu::visibility("hidden")]] Round;
class [[gnu::visibility("hidden")]] RequestListener;

// A layer's membership, ended by its destructor: that waits while the layer is being told something by another thread,
// however long, so that the layer (and the library that its code lies in) may go away afterwards. It may end after the
// service.
class LayerRegistration {
 public:
  LayerRegistration() = default;
  LayerRegistration(std::weak_ptr<LayerStack> stack, std::uint64_t id) : stack_(std::move(stack)), id_(id) {}
  LayerRegistration(LayerRegistration&& other) noexcept;
  LayerRegistration& operator=(LayerRegistration&& other) noexcept;
  ~LayerRegistration();

  // The same, but throws an Error where it would have to wait longer than Service::limit_waits() says; the layer is
  // registered as before then. Afterwards this is no registration.
  void unregister();

 private:
  void end() noexcept;

  std::weak_ptr<LayerStack> stack_;  // of none: it has ended, or the service has
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

  // Puts a layer on top of those registered so far. One that comes while a checkpoint is under way is not asked to
  // prepare for that, but hears how it ended if the process is a restarted one (State::RestartPre, State::Restart) or
  // ends. The layer must outlive the registration. The name is for people; it need not be unique; longer than 1000
  // bytes it is an Error of kind Usage.
  // A layer whose code lies in a shared object that has been unloaded since is not called any more: the next checkpoint
  // fails with an Error that names it, and later ones go on without it.
  [[nodiscard]] LayerRegistration register_layer(std::string name, Layer& layer);

  // The names of all layers that were registered, lowest first.
  std::vector<std::string> layers() const;

  // Takes a snapshot of this process: waits its turn behind other checkpoints, for critical sections, and tells the
  // layers. Returns twice. Throws the first failure; then every layer that was prepared has been told State::Error, and
  // the program goes on. Asked by a layer that is being told something, or inside a critical section, it throws at
  // once. If a layer fails after the snapshot (at Continue, RestartPre, Restart), the others still get their turn, and
  // then that failure is thrown.
  Checkpointed checkpoint(const ServiceCheckpointOptions& options = {});

  // To be called before the destructor where other threads may use the service: waits until no thread is in
  // checkpoint() any more; those that wait for their turn there, any that come later, and of those that somebody may
  // give up (ServiceCheckpointOptions::given_up) all that wait for something, get an Error. Throws, and
  // changes nothing, if the calling thread is in it itself: a layer that is being told something, say. If it takes
  // longer than limit_waits() says, it throws, too, and the service goes on.
  void end();
  // How long other threads wait at most for a checkpoint to be over: to enter a critical section, to unregister a layer
  // (LayerRegistration::unregister), to end the service, and, in a process that has just been restarted, to hear
  // from the ledger whose a claimed number is. Without it there is no limit.
  void limit_waits(std::chrono::nanoseconds limit);
  // Whether the calling thread is in checkpoint(), of whichever service.
  static bool is_calling_thread_inside() noexcept;

  // Makes a layer that answered NotYet be asked again at once.
  void ask_again();

  // Makes every checkpoint that waits ask whether it is still wanted (ServiceCheckpointOptions::given_up).
  void look_again();

  // An area whose content need not be saved, from the next checkpoint on: a cache, scratch memory. After a restart it
  // reads as zero. The whole pages in it count. Throws an Error of kind Usage if it is not all anonymous memory of the
  // program, private or shared: the calling thread's stack, a mapping of a file, addresses where nothing is.
  //
  // It is addresses that are excluded, not what lies there now: include_memory() them BEFORE the memory is unmapped or
  // freed. What is mapped there later, by whomever, would not be saved either, and nobody would be told before a
  // restart. Where nothing is mapped at a checkpoint, or something that cannot be left out, it is passed over.
  void exclude_memory(const void* start, std::size_t bytes);
  // Ends that for every page that this area touches, in whatever excluded areas: what is left of those stays excluded.
  void include_memory(const void* start, std::size_t bytes);
  std::vector<MemoryRange> excluded_memory() const;

  // What the last restart said, in a process that was made by one.
  std::optional<RestartNews> news() const;
  // A variable as it counts for this process: the value that the last restart gave it, else that of its environment
  // (which no restart changes).
  std::optional<std::string> environment(const std::string& name) const;

  // What the layers are being told: it changes before each is; Running between checkpoints.
  State state() const;
  Ledger& ledger() noexcept { return ledger_; }
  CriticalSections& critical_sections() noexcept { return sections_; }

 private:
  friend class RequestListener;
  class Census;
  class Inside;
  class Turn;
  void require_own_process() const;
  void set_state(State state);
  bool has_turn() const;
  void require_wanted(const ServiceCheckpointOptions& options) const;
  void pause_until(std::chrono::steady_clock::time_point until, const ServiceCheckpointOptions& options);
  Checkpointed checkpoint_in_turn(const ServiceCheckpointOptions& options);
  CheckpointOutcome take_or_unwind(Round& round, std::unique_ptr<SnapshotPlace>& place,
                                   const ServiceCheckpointOptions& options);
  CheckpointOutcome take_snapshot(SnapshotPlace& place, const ServiceCheckpointOptions& options);
  void conclude(Round& round, CheckpointOutcome outcome, AfterCheckpoint after, SnapshotPlace& place,
                Checkpointed& result);
  void take_news(const SnapshotPlace& place);

  Module& module_;
  Capabilities capabilities_;
  MakeSnapshotPlace make_place_;
  std::atomic<pid_t> process_;     // changes at a restart with new ids
  std::uint64_t fork_generation_;  // of the process that it was made in
  Ledger ledger_;
  CriticalSections sections_;
  std::shared_ptr<LayerStack> stack_;

  mutable std::mutex mutex_;
  std::condition_variable turn_over_;
  std::uint64_t last_ticket_ = 0;
  std::deque<std::uint64_t> queue_;  // the first one has its turn
  std::thread::id at_turn_;          // whose turn that is
  std::size_t inside_ = 0;           // threads in checkpoint()
  std::atomic<bool> ends_ = false;
  State state_ = State::Running;
  std::condition_variable asked_again_;
  std::uint64_t ask_again_count_ = 0;
  std::uint64_t ask_again_seen_ = 0;
  std::vector<MemoryRange> excluded_;
  std::optional<RestartNews> news_;
};

}  // namespace crs
