// The one service of this process behind the functions of crs/crs.hpp.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "base/cancellation.h"
#include "base/error.h"
#include "base/signal_name.h"
#include "base/thrown.h"
#include "crs/crs.hpp"
#include "library/restart.h"
#include "library/selected.h"
#include "library/self_restart.h"
#include "service/after_fork.h"
#include "service/requests.h"
#include "service/signal_trigger.h"

namespace crs {
namespace {

class Program {
 public:
  explicit Program(const InitOptions& options)
      : selected_(options),
        fork_generation_(fork_generation()),
        service_(selected_.module(), selected_.status().capabilities,
                 make_helper_places(selected_.taken_by(), selected_.helper(), [this] { return &service_; })) {
    service_.limit_waits(selected_.wait_limit());
    if (options.listen) listen();
    if (!selected_.signal().empty()) wait_for_signal(parse_signal(selected_.signal()));
  }

  bool is_of_this_process() const { return fork_generation_ == fork_generation(); }
  const Selected& selected() const noexcept { return selected_; }
  Service& service() noexcept { return service_; }
  // Waits for checkpoints that are under way. The service is there for their layers until then; what asks for more is
  // ended when none can begin. Where they take too long it throws, and everything goes on.
  void end() {
    service_.end();
    signal_.reset();
    requests_.reset();
  }
  void end_with_process() noexcept {
    if (requests_) requests_->leave_no_file();
  }

 private:
  void listen() {
    try {
      requests_ = std::make_unique<RequestListener>(service_, selected_.taken_by(), selected_.helper().job);
    } catch (const Error& error) {
      selected_.say(fmt::format("warning: no checkpoint can be asked for from outside: {}", error.what()));
    }
  }

  // Each checkpoint has a thread of its own, which a layer may end: those who send the signal again are heard.
  void wait_for_signal(int signal) {
    signal_ = std::make_unique<SignalTrigger>(signal, [this, name = name_of_signal(signal)] {
      try {
        std::thread([&] { checkpoint_for(name); }).join();
      } catch (const std::system_error& problem) {
        selected_.say(fmt::format("warning: no thread can be made for the checkpoint that {} asked for: {}", name,
                                  problem.what()));
      }
    });
  }

  // Whoever sends a signal hears nothing but what the program says.
  void checkpoint_for(const std::string& signal_name) {
    const CancellationDeferred deferred;  // a layer may have this thread cancelled
    const auto tell = [&](const std::string& words) {
      selected_.say(fmt::format("warning: the checkpoint that {} asked for failed: {}", signal_name, words));
    };
    ServiceCheckpointOptions options;
    options.progress = [this](const Progress& progress) {
      if (progress.stage == Progress::Stage::Delayed) selected_.say(progress.text);
    };
    try {
      service_.checkpoint(options);
    } catch (...) {
      if (is_thread_ending()) {
        tell("a layer ended its thread");
        throw;
      }
      tell(words_of_current_exception());
    }
  }

  Selected selected_;
  std::uint64_t fork_generation_;
  Service service_;
  std::unique_ptr<RequestListener> requests_;
  std::unique_ptr<SignalTrigger> signal_;
};

// The one exception to there being no globals. It is not destroyed at the program's end, where other threads may still
// use it, and in a child made by fork(2) the parent's is left alone: its threads are not there, its locks may be held.
struct Place {
  explicit Place(Program* known) : program(known) {}

  const std::uint64_t generation = fork_generation();
  std::mutex mutex;
  std::atomic<Program*> program;
  std::atomic<bool> is_initialising = false;
};

// In a forked process another one: a thread that is not there may hold the lock of the first, or be making a service.
Place& place() {
  static std::atomic<Place*> the_place = new Place(nullptr);
  Place* present = the_place;
  if (present->generation == fork_generation()) return *present;
  auto fresh = std::make_unique<Place>(present->program);
  if (the_place.compare_exchange_strong(present, fresh.get())) present = fresh.release();
  return *present;
}

// A thread makes the service, without the lock: it calls code of the program's on the way, a restart function say,
// which may wait for other threads. Nobody may make one meanwhile, that thread neither, or end what is not there yet.
class Initialising {
 public:
  // The place must be locked, and nobody be making a service.
  explicit Initialising(Place& place) : place_(place) { place.is_initialising = true; }
  ~Initialising() { place_.is_initialising = false; }
  Initialising(const Initialising&) = delete;
  Initialising& operator=(const Initialising&) = delete;

  static void refuse(ErrorKind kind, const char* what) {
    if (!place().is_initialising) return;
    throw Error(kind, fmt::format("{} cannot be called while the service is being made", what))
        .advise("A thread makes it for all; a restart function, which crs::init() calls, leaves it to its caller");
  }

 private:
  Place& place_;
};

Program& program() {
  Program* const found = place().program;
  if (found == nullptr) {
    throw Error(ErrorKind::Failed, "this program has no service").advise("crs::init() makes it");
  }
  if (!found->is_of_this_process()) {
    throw Error(ErrorKind::Failed,
                fmt::format("process {} was forked from one with a service and has none", ::getpid()))
        .advise("It may call crs::init() itself");
  }
  return *found;
}

[[noreturn]] void fail_second_init() {
  fail(ErrorKind::Usage, "this program has a service already: crs::init() was called before");
}

// At exit(3). Only what the process would leave behind: other threads may still use the service. Where it is just being
// made, there is none yet; where a thread is ending it, nothing is done: that could be the one that ends the process.
void clean_up() {
  const std::unique_lock lock(place().mutex, std::try_to_lock);
  Program* const found = place().program;
  if (lock.owns_lock() && found != nullptr && found->is_of_this_process()) found->end_with_process();
}

}  // namespace

void init(const InitOptions& options) {
  const CancellationDeferred deferred;
  // Before the lock, too: see finalize().
  if (is_initialized() && Service::is_calling_thread_inside()) fail_second_init();
  Place& here = place();
  std::optional<Initialising> initialising;
  {
    const std::lock_guard lock(here.mutex);
    Initialising::refuse(ErrorKind::Usage, "crs::init()");
    if (is_initialized()) fail_second_init();
    initialising.emplace(here);
  }
  static const bool cleans_up = std::atexit(clean_up) == 0;  // once, whatever becomes of this service
  static_cast<void>(cleans_up);
  try {
    // Not `here`: a restart function may have forked, and this be its child.
    place().program = new Program(options);
  } catch (const std::exception& problem) {
    report_self_restart(&problem);
    throw;
  } catch (...) {
    const Error ended(ErrorKind::Failed, is_thread_ending() ? "the program's restart function ended its thread"
                                                            : words_of_current_exception());
    report_self_restart(&ended);
    throw;
  }
  initialising.reset();
  report_self_restart(nullptr);
}

void finalize() {
  const CancellationDeferred deferred;
  // Before the lock: another thread that ends the service holds it, and waits for this one.
  if (Service::is_calling_thread_inside()) {
    throw Error(ErrorKind::Failed,
                "the service cannot be ended: a checkpoint is under way, which this thread carries out")
        .advise("A layer leaves that to the program");
  }
  const std::lock_guard lock(place().mutex);
  Initialising::refuse(ErrorKind::Failed, "crs::finalize()");
  Program* const found = &program();
  found->end();
  place().program = nullptr;
  delete found;
}

bool is_initialized() noexcept {
  const Program* const found = place().program;
  return found != nullptr && found->is_of_this_process();
}

Service& service() { return program().service(); }
std::string component_name() { return program().selected().status().name; }
Capabilities component_capabilities() { return program().selected().status().capabilities; }

Checkpointed checkpoint(const ServiceCheckpointOptions& options) { return service().checkpoint(options); }

pid_t restart(const std::string& reference, bool spawn_child, const ProgramRestartOptions& options,
              std::chrono::nanoseconds time_limit) {
  const CancellationDeferred deferred;
  const RestartRequest request{reference, options.ids, options.changed_files, options.job};
  const HelperOptions& helper = program().selected().helper();
  const std::optional<RestartNews> news = service().news();
  if (spawn_child) return restart_as_child(request, helper, news).pid;
  check_replacement(request, helper, news);
  const CriticalSections::Closed closed(service().critical_sections(), time_limit, {});
  become_restarted(request, helper, news);
}

void exclude(const void* start, std::size_t bytes) { service().exclude_memory(start, bytes); }
void include(const void* start, std::size_t bytes) { service().include_memory(start, bytes); }
std::vector<MemoryRange> excluded() { return service().excluded_memory(); }

std::vector<MemoryRange> lost_memory() {
  const std::optional<RestartNews> news = service().news();
  return news ? news->excluded : std::vector<MemoryRange>();
}

std::optional<std::string> environment(const std::string& name) { return service().environment(name); }

void register_thread(const std::string& name) {
  service().critical_sections().register_thread(name);
  program().selected().module().register_thread();
}

void enter_critical_section() { service().critical_sections().enter(); }
void leave_critical_section() { service().critical_sections().leave(); }

LayerRegistration register_layer(std::string name, Layer& layer) {
  return service().register_layer(std::move(name), layer);
}

void prelaunch(LaunchPlan& plan) { program().selected().module().prelaunch(plan); }

}  // namespace crs
