// The eight operations of a component's module, without the service.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>

#include "base/cancellation.h"
#include "base/error.h"
#include "base/excluded_areas.h"
#include "crs/crs.hpp"
#include "framework/outcome.h"
#include "library/restart.h"
#include "library/selected.h"
#include "service/helper.h"

namespace crs {
namespace {

void check_process(pid_t pid) {
  if (pid < 0) fail(ErrorKind::Usage, "{} is no process id", pid);
  // tgkill(2): only a process's first thread has its id.
  if (pid == 0 || ::tgkill(pid, pid, 0) == 0 || errno != ESRCH) return;
  if (::kill(pid, 0) != 0 && errno == ESRCH) fail(ErrorKind::NotFound, "there is no process {}", pid);
  fail(ErrorKind::Usage, "{} is the id of a thread, not of a process", pid);
}

}  // namespace

struct SelectedModule::Parts {
  explicit Parts(const InitOptions& options) : selected(options) { sections.limit_waits(selected.wait_limit()); }
  Selected selected;
  CriticalSections sections{
      {[this] { selected.module().disable_checkpoint(); }, [this] { selected.module().enable_checkpoint(); }}};
};

SelectedModule::SelectedModule(const InitOptions& options) : parts_(std::make_unique<Parts>(options)) {}
SelectedModule::~SelectedModule() = default;
SelectedModule::SelectedModule(SelectedModule&&) noexcept = default;
SelectedModule& SelectedModule::operator=(SelectedModule&&) noexcept = default;

std::string SelectedModule::name() const { return parts_->selected.status().name; }
Capabilities SelectedModule::capabilities() const { return parts_->selected.status().capabilities; }
Module& SelectedModule::module() { return parts_->selected.module(); }

State SelectedModule::checkpoint(pid_t pid, Snapshot& snapshot, const CheckpointOptions& options,
                                 std::chrono::nanoseconds time_limit,
                                 const std::function<void(const std::string&)>& delayed) {
  const CancellationDeferred deferred;
  check_process(pid);
  check_excluded_ranges(options.exclude);
  check_excluded_count(options.exclude.size());
  const bool is_caller = pid == 0 || pid == ::getpid();
  // Another process has its own.
  std::optional<CriticalSections::Closed> closed;
  if (is_caller) {
    const auto& told = delayed ? delayed : options.progress;
    closed.emplace(parts_->sections, time_limit, [&told](const Delay& delay) {
      if (told) told(delay.text());
    });
  }
  const HelperOptions& helper = parts_->selected.helper();
  const auto place = make_taker_place(parts_->selected.taken_by(), helper.job, [&helper] {
    std::vector<std::string> arguments = helper.arguments;
    arguments.emplace_back("take");
    return std::make_shared<wire::Connection>(start_helper(helper.program, arguments, environment_now(std::nullopt)));
  });
  place->prepared({});
  const CheckpointOutcome outcome = module().checkpoint(is_caller ? 0 : pid, place->sink(), options);
  snapshot.component = name();
  snapshot.reference = place->reference();
  snapshot.location = place->final_location();
  snapshot.cold_start = false;
  if (const auto problem = not_as_asked(options.after, outcome.state)) {
    place->finished({}, {*problem});
    throw Error(ErrorKind::Failed, *problem).add_context(fmt::format("after the snapshot {}", snapshot.reference));
  }
  const bool stops = is_caller && outcome.state == State::Continue && options.after == AfterCheckpoint::Stop;
  if (stops) place->stop_when_finished();
  place->finished({}, {});
  if (is_caller && outcome.state == State::Term) place->end_process();
  return outcome.state;
}

pid_t SelectedModule::restart(Snapshot& snapshot, bool spawn_child, const RestartOptions& options,
                              std::chrono::nanoseconds time_limit, const std::string& job) {
  if (!snapshot.cold_start && snapshot.reference.empty()) {
    fail(ErrorKind::Usage, "there is no snapshot to restart: component {} stored none, or it is not named", name());
  }
  if (snapshot.cold_start && !snapshot.location.starts_with('/'))
    fail(ErrorKind::Usage, "'{}', the location of a snapshot, is no absolute path", snapshot.location);
  // Whoever has only the location says so, and crs reads the rest from the manifest.
  const RestartRequest request{snapshot.cold_start ? snapshot.location : snapshot.reference, options.ids,
                               options.changed_files, job};
  const HelperOptions& helper = parts_->selected.helper();
  if (spawn_child) {
    const RestartedChild child = restart_as_child(request, helper, std::nullopt);
    snapshot.component = child.component;
    snapshot.reference = child.reference;
    snapshot.cold_start = false;
    return child.pid;
  }
  check_replacement(request, helper, std::nullopt);
  const CriticalSections::Closed closed(parts_->sections, time_limit, {});
  become_restarted(request, helper, std::nullopt);
}

void SelectedModule::disable_checkpoint() { parts_->sections.enter(); }

void SelectedModule::enable_checkpoint() { parts_->sections.leave(); }

void SelectedModule::prelaunch(LaunchPlan& plan) { module().prelaunch(plan); }

void SelectedModule::register_thread(const std::string& name) {
  if (!name.empty()) parts_->sections.register_thread(name);
  module().register_thread();
}

}  // namespace crs
