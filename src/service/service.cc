#include "crs/service.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "service/layer_stack.h"
#include "service/round.h"

namespace crs {
namespace {

using Clock = std::chrono::steady_clock;

void report(const ServiceCheckpointOptions& options, Progress::Stage stage, std::string text = {}) {
  if (options.progress) options.progress({stage, std::move(text)});
}

}  // namespace

const char* name_of(Progress::Stage stage) noexcept {
  switch (stage) {
    case Progress::Stage::Accepted:
      return "accepted";
    case Progress::Stage::Delayed:
      return "delayed";
    case Progress::Stage::Quiescing:
      return "quiescing";
    case Progress::Stage::Snapshotting:
      return "snapshotting";
    case Progress::Stage::Done:
      return "done";
    case Progress::Stage::Failed:
      return "failed";
  }
  return "unknown";
}

LayerRegistration::LayerRegistration(LayerRegistration&& other) noexcept
    : stack_(std::exchange(other.stack_, nullptr)), id_(other.id_) {}

LayerRegistration& LayerRegistration::operator=(LayerRegistration&& other) noexcept {
  if (this != &other) {
    if (stack_ != nullptr) stack_->remove(id_);
    stack_ = std::exchange(other.stack_, nullptr);
    id_ = other.id_;
  }
  return *this;
}

LayerRegistration::~LayerRegistration() {
  if (stack_ != nullptr) stack_->remove(id_);
}

// One caller at a time, in the order in which they came.
class Service::Turn {
 public:
  explicit Turn(Service& service) : service_(service) {
    std::unique_lock lock(service_.mutex_);
    const std::uint64_t ticket = service_.next_ticket_++;
    service_.turn_over_.wait(lock, [&] { return service_.now_serving_ == ticket; });
  }
  ~Turn() {
    const std::lock_guard lock(service_.mutex_);
    service_.state_ = State::Running;
    ++service_.now_serving_;
    service_.turn_over_.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Service& service_;
};

Service::Service(Module& module, Capabilities capabilities, MakeSnapshotPlace make_place)
    : module_(module),
      capabilities_(capabilities),
      make_place_(std::move(make_place)),
      process_(::getpid()),
      stack_(std::make_unique<LayerStack>()) {}

Service::~Service() = default;

void Service::require_own_process() const {
  if (process_ != ::getpid()) {
    fail(ErrorKind::Failed, "process {} was forked from process {} and has no service", ::getpid(), process_.load());
  }
}

LayerRegistration Service::register_layer(std::string name, Layer& layer) {
  require_own_process();
  return {*stack_, stack_->add(std::move(name), layer)};
}

std::vector<std::string> Service::layers() const {
  require_own_process();
  std::vector<std::string> names;
  for (const auto& member : stack_->members()) names.push_back(member->name);
  return names;
}

State Service::state() const {
  require_own_process();
  const std::lock_guard lock(mutex_);
  return state_;
}

void Service::set_state(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
}

void Service::ask_again() {
  require_own_process();
  const std::lock_guard lock(mutex_);
  ++ask_again_count_;
  asked_again_.notify_all();
}

void Service::pause_until(Clock::time_point until) {
  std::unique_lock lock(mutex_);
  asked_again_.wait_until(lock, until, [&, seen = ask_again_seen_] { return ask_again_count_ != seen; });
  ask_again_seen_ = ask_again_count_;
}

CheckpointOutcome Service::take_snapshot(SnapshotPlace& place, const ServiceCheckpointOptions& options) {
  report(options, Progress::Stage::Snapshotting);
  ledger_.take_census();
  CheckpointOptions module_options;
  module_options.after = options.after;
  module_options.leave_out = options.leave_out;
  return module_.checkpoint(0, place.sink(), module_options);
}

void Service::finish(Round& round, const CheckpointOutcome& outcome, Checkpointed& result) {
  result.state = outcome.state;
  set_state(outcome.state);
  switch (outcome.state) {
    case State::Restart:
      process_ = ::getpid();
      result.forgotten = ledger_.compare_after_restart(capabilities_);
      return round.restart();
    case State::Term:
      return round.end();
    default:
      return round.go_on();
  }
}

Checkpointed Service::checkpoint(const ServiceCheckpointOptions& options) {
  require_own_process();
  if (sections_.depth() > 0) {
    fail(ErrorKind::Failed, "the thread that asks for a checkpoint is in a critical section itself");
  }
  report(options, Progress::Stage::Accepted);
  const Turn turn(*this);
  try {
    return checkpoint_in_turn(options);
  } catch (const std::exception& problem) {
    report(options, Progress::Stage::Failed, problem.what());
    throw;
  }
}

Checkpointed Service::checkpoint_in_turn(const ServiceCheckpointOptions& options) {
  const auto begin = Clock::now();
  const CriticalSections::Closed closed(sections_, options.time_limit, [&](const Delay& delay) {
    report(options, Progress::Stage::Delayed, delay.text());
  });
  const auto end = Clock::now() + std::max<std::chrono::nanoseconds>(options.time_limit - (Clock::now() - begin), {});
  Round round(*stack_);
  set_state(State::Checkpoint);
  round.prepare(
      end, [&](const std::string& layer) { report(options, Progress::Stage::Quiescing, layer); },
      [&](Clock::time_point until) { pause_until(until); });
  Checkpointed result;
  CheckpointOutcome outcome;
  std::unique_ptr<SnapshotPlace> place;
  try {
    place = make_place_();
    outcome = take_snapshot(*place, options);
  } catch (...) {
    set_state(State::Error);
    FirstFailure failure;
    failure.note("");
    round.unwind(failure);
    failure.rethrow();
  }
  result.reference = place->reference();
  in_context(fmt::format("after the snapshot {}", result.reference), [&] { finish(round, outcome, result); });
  result.layers = round.times();
  if (result.state != State::Restart) report(options, Progress::Stage::Done, result.reference);
  return result;
}

}  // namespace crs
