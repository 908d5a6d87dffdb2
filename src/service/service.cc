#include "crs/service.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/cancellation.h"
#include "base/error.h"
#include "base/excluded_areas.h"
#include "base/longest_limit.h"
#include "base/thrown.h"
#include "framework/outcome.h"
#include "service/after_fork.h"
#include "service/layer_stack.h"
#include "service/limited_wait.h"
#include "service/own_memory.h"
#include "service/round.h"

namespace crs {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail_ending() { fail(ErrorKind::Failed, "the program ends its service"); }
[[noreturn]] void fail_given_up() { fail(ErrorKind::Failed, "whoever asked for the checkpoint has gone"); }

std::uintptr_t begin_of_area(const void* start, std::size_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(start);
  // Nothing lies in the upper half for a program; a page more must not run over the end either.
  if (first > UINTPTR_MAX / 2 || bytes > UINTPTR_MAX / 2 - first) {
    fail(ErrorKind::Usage, "there is no memory of {} bytes at {}", bytes, start);
  }
  return first;
}

std::uintptr_t page_size() { return static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)); }

// The component hears of every section of the program.
SectionHooks hooks_of(Module& module) {
  return {[&module] { module.disable_checkpoint(); }, [&module] { module.enable_checkpoint(); }};
}

void report(const ServiceCheckpointOptions& options, Progress::Stage stage, std::string text = {}) {
  if (options.progress) options.progress({stage, std::move(text)});
}

constexpr const char* kThreadEnded = "the thread that took the checkpoint was ended";

// What is said beside the end of a checkpoint or of its thread: nothing may take the place of that.
template <typename Action>
void quietly(const Action& action) {
  try {
    action();
  } catch (...) {  // there is nobody to be told
    if (is_thread_ending()) throw;
  }
}

// A layer, told how the checkpoint ended, has ended the thread.
void conclude_without_thread(SnapshotPlace& place, const Round& round, State state) {
  quietly([&] { place.finished(round.times(), {kThreadEnded}); });
  if (state == State::Term) place.end_process();
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

namespace {

// How many checkpoint() calls the calling thread is in, in the process of that generation.
struct Depth {
  std::uint64_t fork_generation = 0;
  int calls = 0;
};
Depth& own_depth() {
  thread_local Depth depth;
  return depth;
}

}  // namespace

// A thread in checkpoint(), from before it has its turn on.
class Service::Inside {
 public:
  explicit Inside(Service& service) : service_(service) {
    const std::lock_guard lock(service_.mutex_);
    if (service_.ends_) fail_ending();
    ++service_.inside_;
    Depth& depth = own_depth();
    if (depth.fork_generation != fork_generation()) depth = {fork_generation(), 0};
    ++depth.calls;
  }
  ~Inside() {
    const std::lock_guard lock(service_.mutex_);
    --own_depth().calls;
    --service_.inside_;
    service_.turn_over_.notify_all();
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Service& service_;
};

bool Service::is_calling_thread_inside() noexcept {
  const Depth& depth = own_depth();
  return depth.calls > 0 && depth.fork_generation == fork_generation();
}

void Service::end() {
  require_own_process();
  if (is_calling_thread_inside()) {
    fail(ErrorKind::Failed, "a checkpoint is under way, which the thread that would end the service carries out");
  }
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  look_again();
  std::unique_lock lock(mutex_);
  const auto limit = stack_->wait_limit();
  if (wait_limited(turn_over_, lock, limit, [&] { return inside_ == 0; })) return;
  ends_ = false;
  throw Error(ErrorKind::Failed,
              fmt::format("the service cannot be ended: a checkpoint is under way (state {}), and is "
                          "not over after {} s",
                          name_of(state_), std::chrono::duration<double>(limit).count()))
      .advise("See which layer does not return; the parameter crs_wait_limit sets the time limit");
}

void Service::limit_waits(std::chrono::nanoseconds limit) {
  stack_->limit_waits(limit);
  sections_.limit_waits(limit);
  ledger_.limit_waits(limit);
}

// From the census on this process may be a restarted one, until it is known to be the same that goes on.
class Service::Census {
 public:
  Census(Ledger& ledger, const SnapshotPlace& place) : ledger_(ledger) {
    ledger.take_census([&place] { return place.is_restarted(); });
  }
  ~Census() {
    if (!is_restarted_) ledger_.end_census();
  }
  Census(const Census&) = delete;
  Census& operator=(const Census&) = delete;

  void note(State state) noexcept { is_restarted_ = state == State::Restart; }

 private:
  Ledger& ledger_;
  bool is_restarted_ = false;
};

// One caller at a time, in the order in which they came.
class Service::Turn {
 public:
  Turn(Service& service, const ServiceCheckpointOptions& options) : service_(service) {
    std::unique_lock lock(service_.mutex_);
    ticket_ = ++service_.last_ticket_;
    service_.queue_.push_back(ticket_);
    try {
      wait(lock, options);
      service_.at_turn_ = std::this_thread::get_id();
    } catch (...) {
      leave();
      throw;
    }
  }
  ~Turn() {
    const std::lock_guard lock(service_.mutex_);
    service_.state_ = State::Running;
    service_.at_turn_ = {};
    leave();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  void wait(std::unique_lock<std::mutex>& lock, const ServiceCheckpointOptions& options) {
    const auto end = Clock::now() + bounded(options.turn_limit);
    const CancellationAllowed allowed;
    while (service_.queue_.front() != ticket_) {
      if (service_.ends_) fail_ending();
      service_.require_wanted(options);
      if (Clock::now() >= end) {
        throw Error(ErrorKind::Failed, "another checkpoint of this program is still going on")
            .advise("Try again later");
      }
      service_.turn_over_.wait_until(lock, end);
    }
  }

  void leave() {
    service_.queue_.erase(std::find(service_.queue_.begin(), service_.queue_.end(), ticket_));
    service_.turn_over_.notify_all();
  }

  Service& service_;
  std::uint64_t ticket_ = 0;
};

Service::Service(Module& module, Capabilities capabilities, MakeSnapshotPlace make_place)
    : module_(module),
      capabilities_(capabilities),
      make_place_(std::move(make_place)),
      process_(::getpid()),
      fork_generation_(fork_generation()),
      sections_(hooks_of(module)),
      stack_(std::make_shared<LayerStack>()) {}

Service::~Service() = default;

void Service::require_own_process() const {
  if (fork_generation_ != fork_generation()) {
    fail(ErrorKind::Failed, "process {} was forked from process {} and has no service", ::getpid(), process_.load());
  }
}

LayerRegistration Service::register_layer(std::string name, Layer& layer) {
  require_own_process();
  // It stands in messages, which have a limit.
  constexpr std::size_t kLongestName = 1000;
  if (name.size() > kLongestName)
    fail(ErrorKind::Usage, "the name of a layer has {} bytes; {} are allowed", name.size(), kLongestName);
  return {stack_, stack_->add(std::move(name), layer)};
}

std::vector<std::string> Service::layers() const {
  require_own_process();
  std::vector<std::string> names;
  for (const auto& member : stack_->members()) {
    if (!member->internal) names.push_back(member->name);
  }
  return names;
}

State Service::state() const {
  require_own_process();
  const std::lock_guard lock(mutex_);
  return state_;
}

// A checkpoint that somebody outside has asked for is not waited for by a service that ends.
void Service::require_wanted(const ServiceCheckpointOptions& options) const {
  if (!options.given_up) return;
  if (ends_) fail_ending();
  if (options.given_up()) fail_given_up();
}

bool Service::has_turn() const {
  const std::lock_guard lock(mutex_);
  return at_turn_ == std::this_thread::get_id();
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

void Service::look_again() {
  {
    const std::lock_guard lock(mutex_);
    turn_over_.notify_all();
    ++ask_again_count_;
    asked_again_.notify_all();
  }
  sections_.look_again();
}

void Service::exclude_memory(const void* start, std::size_t bytes) {
  require_own_process();
  const auto first = begin_of_area(start, bytes);
  const std::uintptr_t page = page_size();
  const MemoryRange range{(first + page - 1) / page * page, (first + bytes) / page * page};
  if (range.start >= range.end) return;  // no whole page
  check_can_be_left_out(range);
  const std::lock_guard lock(mutex_);
  excluded_.push_back(range);
  excluded_ = merged(std::move(excluded_));
}

void Service::include_memory(const void* start, std::size_t bytes) {
  require_own_process();
  const auto first = begin_of_area(start, bytes);
  const std::uintptr_t page = page_size();
  if (bytes == 0) return;
  const MemoryRange range{first / page * page, (first + bytes + page - 1) / page * page};
  const std::lock_guard lock(mutex_);
  excluded_ = without(excluded_, range);
}

std::vector<MemoryRange> Service::excluded_memory() const {
  require_own_process();
  const std::lock_guard lock(mutex_);
  return excluded_;
}

std::optional<RestartNews> Service::news() const {
  require_own_process();
  const std::lock_guard lock(mutex_);
  return news_;
}

std::optional<std::string> Service::environment(const std::string& name) const {
  require_own_process();
  {
    const std::lock_guard lock(mutex_);
    if (news_) {
      const auto found = news_->environment.find(name);
      if (found != news_->environment.end()) return found->second;
    }
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): a program that changes its environment beside other threads has no rule.
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

void Service::pause_until(Clock::time_point until, const ServiceCheckpointOptions& options) {
  require_wanted(options);
  std::unique_lock lock(mutex_);
  const CancellationAllowed allowed;
  asked_again_.wait_until(lock, until, [&, seen = ask_again_seen_] { return ask_again_count_ != seen; });
  ask_again_seen_ = ask_again_count_;
}

CheckpointOutcome Service::take_snapshot(SnapshotPlace& place, const ServiceCheckpointOptions& options) {
  report(options, Progress::Stage::Snapshotting);
  Census census(ledger_, place);
  CheckpointOptions module_options;
  module_options.after = options.after;
  module_options.leave_out = options.leave_out;
  module_options.exclude = parts_to_leave_out(excluded_memory());
  module_options.exclude.insert(module_options.exclude.end(), options.exclude.begin(), options.exclude.end());
  module_options.exclude = merged(std::move(module_options.exclude));
  check_excluded_count(module_options.exclude.size());
  module_options.expendable = ledger_.numbers();
  module_options.single = options.single;
  module_options.tcp = options.tcp;
  module_options.incremental = options.incremental;
  module_options.compression = options.compression;
  module_options.write_limit = options.write_limit;
  module_options.files = options.files;
  const CheckpointOutcome outcome = module_.checkpoint(0, place.sink(), module_options);
  census.note(outcome.state);
  // A program that tests its layers may want that of itself; nobody else wants a program ended that cannot come back.
  const bool is_lost = options.make_place && options.after != AfterCheckpoint::Continue && place.reference().empty();
  if (is_lost && outcome.state != State::Restart) {
    throw Error(ErrorKind::Failed, "the program's component stored no snapshot, so the program goes on")
        .advise("The program's parameter crs chooses the component");
  }
  return outcome;
}

void Service::take_news(const SnapshotPlace& place) {
  const std::lock_guard lock(mutex_);
  news_ = place.news();
}

namespace {

void tell_end(Round& round, State state) {
  switch (state) {
    case State::Restart:
      return round.restart();
    case State::Term:
      return round.end();
    default:
      return round.go_on();
  }
}

std::string after_snapshot(const std::string& reference) {
  return reference.empty() ? "after the checkpoint, of which nothing was stored" : "after the snapshot " + reference;
}

// `unasked`: what the component has done (not_as_asked()), which is a failure also where no layer has one.
void tell_end(Round& round, State state, const std::optional<std::string>& unasked) {
  if (!unasked) return tell_end(round, state);
  in_context(*unasked, [&] { tell_end(round, state); });
  fail(ErrorKind::Failed, "{}", *unasked);
}

}  // namespace

// The layers hear how it ended, and the place what they say.
void Service::conclude(Round& round, CheckpointOutcome outcome, AfterCheckpoint after, SnapshotPlace& place,
                       Checkpointed& result) {
  const std::optional<std::string> unasked = not_as_asked(after, outcome.state);
  if (unasked) outcome.state = State::Continue;
  result.state = outcome.state;
  result.reference = place.reference();
  set_state(outcome.state);
  if (outcome.state == State::Term) place.end_when_finished();
  if (outcome.state == State::Restart) {
    process_ = ::getpid();
    take_news(place);
    result.forgotten = ledger_.compare_after_restart(capabilities_);
  }
  try {
    in_context(after_snapshot(result.reference), [&] { tell_end(round, outcome.state, unasked); });
  } catch (const std::exception& problem) {
    place.finished(round.times(), {problem.what()});
    if (outcome.state == State::Term) place.end_process();
    throw;
  } catch (...) {  // a layer ends the thread; of layers nothing but an Error comes else
    conclude_without_thread(place, round, outcome.state);
    throw;
  }
  result.layers = round.times();
}

Checkpointed Service::checkpoint(const ServiceCheckpointOptions& options) {
  const CancellationDeferred deferred;
  require_own_process();
  check_excluded_ranges(options.exclude);
  if (sections_.depth() > 0) {
    fail(ErrorKind::Failed, "the thread that asks for a checkpoint is in a critical section itself");
  }
  if (has_turn())
    fail(ErrorKind::Failed, "the thread that asks for a checkpoint, a layer's say, is at a checkpoint already");
  const Inside inside(*this);
  report(options, Progress::Stage::Accepted);
  std::exception_ptr failure;
  std::string words;
  try {
    const Turn turn(*this, options);
    return checkpoint_in_turn(options);
  } catch (...) {
    if (is_thread_ending()) {
      quietly([&] { report(options, Progress::Stage::Failed, kThreadEnded); });
      throw;
    }
    failure = std::current_exception();
    words = words_of_current_exception();
  }
  // Not in the handler, where whoever is told could not end the thread.
  quietly([&] { report(options, Progress::Stage::Failed, words); });
  std::rethrow_exception(failure);
}

// Where that fails, the layers hear of it.
CheckpointOutcome Service::take_or_unwind(Round& round, std::unique_ptr<SnapshotPlace>& place,
                                          const ServiceCheckpointOptions& options) {
  CheckpointOutcome outcome;
  FirstFailure failure;
  try {
    place = options.make_place ? options.make_place() : make_place_();
    place->prepared(round.times());
    if (options.after == AfterCheckpoint::Kill) place->limit_end(options.time_limit);
    outcome = take_snapshot(*place, options);
  } catch (...) {
    set_state(State::Error);
    if (is_thread_ending()) {
      FirstFailure unheard;
      round.unwind(unheard);
      throw;
    }
    failure.note("");
  }
  // Not in the handler, where no layer could end the thread.
  if (failure.any()) round.unwind(failure);
  failure.rethrow();
  return outcome;
}

Checkpointed Service::checkpoint_in_turn(const ServiceCheckpointOptions& options) {
  const auto begin = Clock::now();
  const CriticalSections::Closed closed(
      sections_, options.time_limit,
      [&](const Delay& delay) { report(options, Progress::Stage::Delayed, delay.text()); },
      [&] {
        require_wanted(options);
        return false;
      });
  const auto end = std::max(begin + bounded(options.time_limit), Clock::now());
  Round round(*stack_, [this](State state) { set_state(state); });
  set_state(State::Checkpoint);
  round.prepare(
      end, [&](const std::string& layer) { report(options, Progress::Stage::Quiescing, layer); },
      [&](Clock::time_point until) { pause_until(until, options); });
  Checkpointed result;
  std::unique_ptr<SnapshotPlace> place;
  const CheckpointOutcome outcome = take_or_unwind(round, place, options);
  conclude(round, outcome, options.after, *place, result);
  if (result.state != State::Restart) quietly([&] { report(options, Progress::Stage::Done, result.reference); });
  if (result.state == State::Continue && options.after == AfterCheckpoint::Stop) place->stop_when_finished();
  place->finished(result.layers, {});
  if (result.state == State::Term) place->end_process();
  return result;
}

}  // namespace crs
