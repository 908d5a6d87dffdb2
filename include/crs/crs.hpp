// All of libcrs, and the one service of a program behind a few functions.
//
//   crs::init();                                                        // early in main()
//   auto layer = crs::register_layer("messages", [&](crs::State state) { ... return crs::Answer::Done; });
//   crs::Checkpointed outcome = crs::checkpoint();                      // returns twice: see Service::checkpoint
//
// C++17. Every function may be called from any thread, and reports failure by throwing crs::Error; so do those that
// need the service where there is none (before init(), after finalize(), or in a process made by fork(2), which may
// call init() itself).
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "crs/component.hpp"
#include "crs/critical_sections.hpp"
#include "crs/error.hpp"
#include "crs/layer.hpp"
#include "crs/ledger.hpp"
#include "crs/service.hpp"
#include "crs/state.hpp"

namespace [[gnu::visibility("default")]] crs {

struct InitOptions {
  // The component to use; empty: what the parameter `crs` says, else the best one that is usable here.
  std::string component;
  // "name=value", as the option --param of the command crs. They count more than CRS_PARAM_name in the environment.
  std::vector<std::string> parameters;
  // Where the snapshots are; empty: as the command crs does, $CRS_STORE and so on.
  std::string store;
  // The name of the job; empty: the one that `crs run` or `crs restart` gave, else one made of the program's name.
  std::string job;
  // Whether `crs checkpoint` may ask for snapshots from outside. The service then has a thread that blocks all signals.
  // Where no private directory for the socket can be had, it listens under an abstract name instead, and checks who
  // asks all the same; where that, too, or the thread cannot be had, the output says so, and the program goes on
  // without.
  bool listen = true;
  // Gets lines for the person in charge, without a newline; empty: standard error, with "crs: " before each.
  std::function<void(const std::string&)> output;
};

// Selects the component and makes the program's service. Throws if there is one already, or if another thread is just
// making it: it does not wait for that.
void init(const InitOptions& options = {});

// Ends the service and the component. Layers that are still registered are not told anything any more; their
// registrations may end later. Waits for a checkpoint that another thread carries out, up to the parameter
// crs_wait_limit (two hours): then it throws, and the service goes on. Throws where the calling thread carries it out,
// a layer that is being told something, say. To be called when no other thread uses the service otherwise. It need not
// be called.
void finalize();

// Whether this process has a service.
bool is_initialized() noexcept;

// The program's service, valid until finalize(). What follows here is a short way to it.
Service& service();

// The selected component, and what it brings back after a restart.
std::string component_name();
Capabilities component_capabilities();

Checkpointed checkpoint(const ServiceCheckpointOptions& options = {});

struct ProgramRestartOptions {
  Ids ids = Ids::Automatic;
  ChangedFiles changed_files = ChangedFiles::Refuse;
  // The job that the program is from now on; empty: that of the snapshot. Two programs cannot be one job at a time: a
  // program that starts another one from a snapshot of itself may have to give it a name.
  std::string job{};
};

// Starts a snapshot's program. The snapshot ("sim@3") is checked first, and nothing happens if it is not sound. In
// place that takes in the page data, which the restart then reads once more. What cannot be known beforehand ends a
// program that is to be replaced, with a message: memory that is not to be had, say, or a file that vanishes just then;
// with component self, a restart command that cannot be executed.
//   spawn_child: as a new process, whose id is returned. It is no child of this one.
//   otherwise:   the calling process becomes that program: it keeps its process id, all of its threads end, the call
//                does not return. The layers are not told; those of the program that goes on are, as after any
//                restart. Waits for critical sections, up to `time_limit`, and fails while a checkpoint is under way.
//                Its descriptors but the standard streams are closed. It must have no child processes, not even ended
//                ones that it has not waited for: then, too, the call throws, and the program goes on as it was.
// Either way the crs that does the work (in place: that checks the snapshot) may take as long as the parameter
// crs_restart_limit says, an hour: a big snapshot is read. Then the call throws, and that crs starts nothing any more;
// a program that it had started before, and whose layers were still being told, goes on (crs list shows it).
pid_t restart(const std::string& reference, bool spawn_child, const ProgramRestartOptions& options = {},
              std::chrono::nanoseconds time_limit = std::chrono::seconds(60));

// Memory that need not be saved: see Service::exclude_memory and include_memory. Addresses stay excluded until they are
// included again: do that BEFORE the memory is unmapped or freed, or what is mapped there next is not saved either.
void exclude(const void* start, std::size_t bytes);
void include(const void* start, std::size_t bytes);
std::vector<MemoryRange> excluded();
// In a restarted process, what was not saved and reads as zero since; empty otherwise.
std::vector<MemoryRange> lost_memory();

// A variable as it counts for this process: what the last restart said (`crs restart --env`), else the environment's.
std::optional<std::string> environment(const std::string& name);

// Gives the calling thread a name for messages ("delayed 3.2 s by thread 'solver' in a critical section").
void register_thread(const std::string& name);
// Waits while another thread carries a checkpoint out, up to the parameter crs_wait_limit: then it throws.
void enter_critical_section();
void leave_critical_section();

// A critical section as a scope, which the service outlives.
class CriticalScope {
 public:
  CriticalScope() { enter_critical_section(); }
  ~CriticalScope() {
    try {
      leave_critical_section();
    } catch (...) {  // it is left; a component that has something against it has nobody to tell
    }
  }
  CriticalScope(const CriticalScope&) = delete;
  CriticalScope& operator=(const CriticalScope&) = delete;
};

// Puts a layer on top of those that are there; see Service::register_layer.
[[nodiscard]] LayerRegistration register_layer(std::string name, Layer& layer);

// A layer that is a function: Answer f(State), or void f(State), which always means Answer::Done.
template <typename Function>
class FunctionLayer final : public Layer {
 public:
  explicit FunctionLayer(Function function) : function_(std::move(function)) {}
  Answer notify(State state) override {
    if constexpr (std::is_void_v<std::invoke_result_t<Function&, State>>) {
      function_(state);
      return Answer::Done;
    } else {
      return function_(state);
    }
  }

 private:
  Function function_;
};

// Such a layer with its registration.
class RegisteredFunction {
 public:
  RegisteredFunction() = default;
  RegisteredFunction(std::string name, std::unique_ptr<Layer> layer)
      : layer_(std::move(layer)), registration_(register_layer(std::move(name), *layer_)) {}
  RegisteredFunction(RegisteredFunction&&) noexcept = default;
  RegisteredFunction& operator=(RegisteredFunction&& other) noexcept {
    registration_ = std::move(other.registration_);  // ends the old one while its layer is still there
    layer_ = std::move(other.layer_);
    return *this;
  }
  ~RegisteredFunction() = default;

 private:
  std::unique_ptr<Layer> layer_;
  LayerRegistration registration_;
};

// NOLINTNEXTLINE(modernize-use-constraints): this is C++17
template <typename Function, typename = std::enable_if_t<std::is_invocable_v<Function&, State>>>
[[nodiscard]] RegisteredFunction register_layer(std::string name, Function function) {
  return {std::move(name), std::make_unique<FunctionLayer<Function>>(std::move(function))};
}

// For launchers: lets the component change a command that is about to be started.
void prelaunch(LaunchPlan& plan);

// A component's module without the service: no layer is told anything. C++'s form of "the eight operations"; init and
// finalize are the constructor's and destructor's.
class SelectedModule {
 public:
  // `options` as for init(); `job` and `store` say where checkpoint() puts its snapshots.
  explicit SelectedModule(const InitOptions& options = {});
  ~SelectedModule();
  SelectedModule(SelectedModule&&) noexcept;
  SelectedModule& operator=(SelectedModule&&) noexcept;

  std::string name() const;
  Capabilities capabilities() const;

  // Of process `pid`; 0: the caller, which it returns to twice: Continue or Restart (where the caller is to end it does
  // not return); Continue or Term of another process. On an Error nothing is left and the program goes on. `snapshot`
  // then names the new snapshot; its reference is "" where nothing is stored.
  // One of the caller waits until no thread has checkpoints disabled, says so ("delayed 3.2 s by ...") through
  // `delayed`, or where that is empty through options.progress, which also hears what the component has to say, and
  // gives up after `time_limit`. In the calling thread that is an Error at once: it would wait for itself.
  State checkpoint(pid_t pid, Snapshot& snapshot, const CheckpointOptions& options = {},
                   std::chrono::nanoseconds time_limit = std::chrono::seconds(60),
                   const std::function<void(const std::string&)>& delayed = {});
  // As crs::restart() does, critical sections included; of `options`, ids and changed_files count. `snapshot` is
  // rebuilt from its location where that is all there is (cold_start). `job`: as in ProgramRestartOptions.
  pid_t restart(Snapshot& snapshot, bool spawn_child, const RestartOptions& options = {},
                std::chrono::nanoseconds time_limit = std::chrono::seconds(60), const std::string& job = {});
  // Critical sections of the calling thread, which nest. Enabling what is not disabled is an Error.
  void disable_checkpoint();
  void enable_checkpoint();
  void prelaunch(LaunchPlan& plan);
  // With a name for messages; "": "thread ID".
  void register_thread(const std::string& name = "");

  // The module itself.
  Module& module();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace crs
