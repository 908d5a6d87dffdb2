// crs/crs.h: the service and everything that belongs to it.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/longest_limit.h"
#include "library/c/options.h"
#include "service/code_place.h"
#include "service/layer_stack.h"

using crs::c::guard;
using crs::c::has;
using crs::c::require;

namespace crs::c {

InitOptions init_options(const crs_init_options* options) {
  InitOptions result;
  if (options == nullptr) return result;
  require_size(*options, options->no_requests, "crs_init_options");
  result.component = text(member_or(*options, options->component, static_cast<const char*>(nullptr)));
  result.parameters = texts(member_or(*options, options->parameters, static_cast<const char* const*>(nullptr)));
  result.store = text(member_or(*options, options->store, static_cast<const char*>(nullptr)));
  result.job = text(member_or(*options, options->job, static_cast<const char*>(nullptr)));
  result.listen = member_or(*options, options->no_requests, 0) == 0;
  if (has(*options, options->output_context) && options->output != nullptr) {
    result.output = [output = options->output, context = options->output_context](const std::string& line) {
      output(context, line.c_str());
    };
  }
  return result;
}

AfterCheckpoint after_checkpoint(int after) {
  switch (after) {
    case CRS_AFTER_CONTINUE:
      return AfterCheckpoint::Continue;
    case CRS_AFTER_STOP:
      return AfterCheckpoint::Stop;
    case CRS_AFTER_KILL:
      return AfterCheckpoint::Kill;
    default:
      fail(ErrorKind::Usage, "{} is nothing that can follow a checkpoint", after);
  }
}

namespace {

// Both enumerations list the same, in the same order.
crs_state state_of(State state) noexcept { return static_cast<crs_state>(state); }
static_assert(static_cast<int>(State::Checkpoint) == CRS_STATE_CHECKPOINT &&
              static_cast<int>(State::RestartPre) == CRS_STATE_RESTART_PRE &&
              static_cast<int>(State::Restart) == CRS_STATE_RESTART &&
              static_cast<int>(State::Continue) == CRS_STATE_CONTINUE &&
              static_cast<int>(State::Term) == CRS_STATE_TERM &&
              static_cast<int>(State::Running) == CRS_STATE_RUNNING &&
              static_cast<int>(State::Error) == CRS_STATE_ERROR);
static_assert(static_cast<int>(Progress::Stage::Accepted) == CRS_STAGE_ACCEPTED &&
              static_cast<int>(Progress::Stage::Failed) == CRS_STAGE_FAILED);

std::string& layer_failure() {
  thread_local std::string why;
  return why;
}

// A layer whose code is a C function.
class FunctionOfC final : public Layer {
 public:
  FunctionOfC(crs_layer_function* function, void* context)
      : notify_(function), context_(context), code_(reinterpret_cast<const void*>(function)) {}

  Answer notify(State state) override {
    if (!code_.is_there()) {
      LayerIsGone gone(ErrorKind::Failed,
                       fmt::format("{}, which holds the layer's code, was unloaded", code_.object()));
      gone.advise("A library calls crs_unregister() before it is unloaded");
      throw gone;
    }
    layer_failure().clear();
    const int answer = notify_(context_, state_of(state));
    switch (answer) {
      case CRS_ANSWER_DONE:
        return Answer::Done;
      case CRS_ANSWER_NOT_YET:
        return Answer::NotYet;
      case CRS_ANSWER_REOPEN:
        return Answer::Reopen;
      case CRS_ANSWER_FAILED:
        fail(ErrorKind::Failed, "{}", layer_failure().empty() ? "it does not say why" : layer_failure());
      default:
        fail(ErrorKind::Failed, "it answered {}, which is no answer", answer);
    }
  }

 private:
  crs_layer_function* notify_;
  void* context_;
  CodePlace code_;
};

}  // namespace

namespace {

// 0: the one that is set already.
void set_limit(std::chrono::nanoseconds& limit, double seconds) {
  if (!(seconds >= 0)) fail(ErrorKind::Usage, "the time limit is negative");
  if (seconds == 0) return;
  const std::chrono::duration<double> longest = bounded(std::chrono::nanoseconds::max());
  limit =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::min(std::chrono::duration<double>(seconds), longest));
}

}  // namespace

namespace {

TcpPolicy tcp_policy(int given) {
  switch (given) {
    case CRS_TCP_RESET:
      return TcpPolicy::Reset;
    case CRS_TCP_REFUSE:
      return TcpPolicy::Refuse;
    case CRS_TCP_KEEP:
      return TcpPolicy::Keep;
    default:
      fail(ErrorKind::Usage, "{} says nothing of TCP connections", given);
  }
}

std::string text_or_nothing(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

GivenRestartOptions restart_options(const crs_restart_options* given) {
  GivenRestartOptions options;
  if (given == nullptr) return options;
  require_size(*given, given->time_limit, "crs_restart_options");
  const int ids = number_or(*given, given->ids, CRS_IDS_AUTOMATIC);
  switch (ids) {
    case CRS_IDS_AUTOMATIC:
      break;
    case CRS_IDS_KEEP:
      options.options.ids = Ids::Keep;
      break;
    case CRS_IDS_NAMESPACE:
      options.options.ids = Ids::Namespace;
      break;
    case CRS_IDS_NEW:
      options.options.ids = Ids::New;
      break;
    default:
      fail(ErrorKind::Usage, "{} says nothing of process ids", ids);
  }
  if (member_or(*given, given->accept_changed_files, 0) != 0) options.options.changed_files = ChangedFiles::Accept;
  set_limit(options.time_limit, member_or(*given, given->time_limit, 0.0));
  options.options.job = text_or_nothing(member_or(*given, given->job, static_cast<const char*>(nullptr)));
  return options;
}

ServiceCheckpointOptions checkpoint_options(const crs_checkpoint_options* given) {
  ServiceCheckpointOptions options;
  if (given == nullptr) return options;
  require_size(*given, given->files, "crs_checkpoint_options");
  options.after = after_checkpoint(number_or(*given, given->after, CRS_AFTER_CONTINUE));
  set_limit(options.time_limit, member_or(*given, given->time_limit, 0.0));
  options.leave_out = texts(member_or(*given, given->leave_out, static_cast<const char* const*>(nullptr)));
  if (has(*given, given->progress_context) && given->progress != nullptr) {
    options.progress = [tell = given->progress, context = given->progress_context](const Progress& progress) {
      tell(context, static_cast<crs_stage>(progress.stage), progress.text.c_str());
    };
  }
  const std::size_t excluded =
      has(*given, given->exclude_count) && given->exclude != nullptr ? given->exclude_count : 0;
  for (std::size_t i = 0; i < excluded; ++i)
    options.exclude.push_back({given->exclude[i].start, given->exclude[i].end});
  options.single = member_or(*given, given->single, 0) != 0;
  options.incremental = member_or(*given, given->incremental, 0) != 0;
  options.tcp = tcp_policy(number_or(*given, given->tcp, CRS_TCP_RESET));
  options.compression = text_or_nothing(member_or(*given, given->compression, static_cast<const char*>(nullptr)));
  options.write_limit = member_or(*given, given->write_limit, std::uint64_t{0});
  options.files = texts(member_or(*given, given->files, static_cast<const char* const*>(nullptr)));
  return options;
}

namespace {

int give_ranges(const std::vector<MemoryRange>& found, crs_range** ranges, std::size_t* count) {
  return guard([&] {
    require(static_cast<const void*>(ranges), "the place for the ranges");
    require(count, "the place for their number");
    auto* const list = static_cast<crs_range*>(allocate(found.size() * sizeof(crs_range)));
    std::transform(found.begin(), found.end(), list,
                   [](const MemoryRange& range) { return crs_range{range.start, range.end}; });
    *ranges = list;
    *count = found.size();
  });
}

Claim claim_of(const crs_claim* claim) {
  require(claim, "the claim");
  return {claim->number, claim->generation};
}

Use use_of(const crs_use* use) {
  require(use, "the use");
  return {claim_of(&use->claim), use->id};
}

}  // namespace
}  // namespace crs::c

struct crs_layer {
  crs_layer(crs_layer_function* notify, void* context) : function(notify, context) {}
  crs::c::FunctionOfC function;
  crs::LayerRegistration registration;
};

struct crs_checkpointed {
  crs::Checkpointed value;
};

int crs_init(const crs_init_options* options) {
  return guard([&] { crs::init(crs::c::init_options(options)); });
}

int crs_finalize(void) {
  return guard([] { crs::finalize(); });
}

int crs_is_initialized(void) { return crs::is_initialized() ? 1 : 0; }

int crs_component_name(char** name) {
  return guard([&] {
    require(static_cast<const void*>(name), "the place for the name");
    *name = crs::c::copy_of(crs::component_name());
  });
}

const char* crs_state_name(crs_state state) { return crs::name_of(static_cast<crs::State>(state)); }

int crs_get_state(crs_state* state) {
  return guard([&] {
    require(state, "the place for the state");
    *state = crs::c::state_of(crs::service().state());
  });
}

int crs_register(const char* name, crs_layer_function* notify, void* context, crs_layer** layer) {
  return guard([&] {
    require(name, "the layer's name");
    require(reinterpret_cast<const void*>(notify), "the layer's function");
    require(static_cast<const void*>(layer), "the place for the layer");
    auto made = std::make_unique<crs_layer>(notify, context);
    made->registration = crs::register_layer(name, made->function);
    *layer = made.release();
  });
}

int crs_unregister(crs_layer* layer) {
  return guard([&] {
    if (layer == nullptr) return;
    layer->registration.unregister();
    delete layer;
  });
}

int crs_layer_failed(const char* why) {
  // Of what went wrong nothing is lost but the words.
  static_cast<void>(guard([&] { crs::c::layer_failure() = crs::c::text(why); }));
  return CRS_ANSWER_FAILED;
}

int crs_ask_again(void) {
  return guard([] { crs::service().ask_again(); });
}

int crs_checkpoint(const crs_checkpoint_options* options, crs_checkpointed** outcome) {
  return guard([&] {
    auto result = std::make_unique<crs_checkpointed>();
    result->value = crs::checkpoint(crs::c::checkpoint_options(options));
    if (outcome != nullptr) *outcome = result.release();
  });
}

crs_state crs_checkpointed_state(const crs_checkpointed* outcome) { return crs::c::state_of(outcome->value.state); }
const char* crs_checkpointed_reference(const crs_checkpointed* outcome) { return outcome->value.reference.c_str(); }

const char* crs_checkpointed_forgotten(const crs_checkpointed* outcome, size_t index) {
  const auto& forgotten = outcome->value.forgotten;
  return index < forgotten.size() ? forgotten[index].c_str() : nullptr;
}

const char* crs_checkpointed_layer(const crs_checkpointed* outcome, size_t index, crs_state* state,
                                   uint64_t* nanoseconds) {
  const auto& layers = outcome->value.layers;
  if (index >= layers.size()) return nullptr;
  if (state != nullptr) *state = crs::c::state_of(layers[index].state);
  if (nanoseconds != nullptr) *nanoseconds = layers[index].nanoseconds;
  return layers[index].layer.c_str();
}

void crs_checkpointed_free(crs_checkpointed* outcome) { delete outcome; }

int crs_restart(const char* reference, int spawn_child, const crs_restart_options* options, pid_t* child) {
  return guard([&] {
    require(reference, "the snapshot's reference");
    const crs::c::GivenRestartOptions given = crs::c::restart_options(options);
    const pid_t pid = crs::restart(reference, spawn_child != 0, given.options, given.time_limit);
    if (child != nullptr) *child = pid;
  });
}

int crs_register_thread(const char* name) {
  return guard([&] {
    require(name, "the thread's name");
    crs::register_thread(name);
  });
}

int crs_enter_critical_section(void) {
  return guard([] { crs::enter_critical_section(); });
}

int crs_leave_critical_section(void) {
  return guard([] { crs::leave_critical_section(); });
}

int crs_exclude(const void* start, size_t bytes) {
  return guard([&] { crs::exclude(start, bytes); });
}

int crs_include(const void* start, size_t bytes) {
  return guard([&] { crs::include(start, bytes); });
}

int crs_excluded(crs_range** ranges, size_t* count) {
  std::vector<crs::MemoryRange> found;
  const int status = guard([&] { found = crs::excluded(); });
  return status == CRS_OK ? crs::c::give_ranges(found, ranges, count) : status;
}

int crs_lost_memory(crs_range** ranges, size_t* count) {
  std::vector<crs::MemoryRange> found;
  const int status = guard([&] { found = crs::lost_memory(); });
  return status == CRS_OK ? crs::c::give_ranges(found, ranges, count) : status;
}

int crs_environment(const char* name, char** value) {
  return guard([&] {
    require(name, "the variable's name");
    require(static_cast<const void*>(value), "the place for the value");
    const std::optional<std::string> found = crs::environment(name);
    *value = found ? crs::c::copy_of(*found) : nullptr;
  });
}

void crs_free(void* memory) { std::free(memory); }

int crs_ledger_claim(int number, const char* owner, crs_claim* claim) {
  return guard([&] {
    require(owner, "the owner's name");
    require(claim, "the place for the claim");
    const crs::Claim made = crs::service().ledger().claim(number, owner);
    *claim = {made.number, made.generation};
  });
}

int crs_ledger_is_mine(const crs_claim* claim, int* mine) {
  return guard([&] {
    require(mine, "the place for the answer");
    *mine = crs::service().ledger().is_mine(crs::c::claim_of(claim)) ? 1 : 0;
  });
}

int crs_ledger_close(const crs_claim* claim, int* closed) {
  return guard([&] {
    const bool was_mine = crs::service().ledger().close(crs::c::claim_of(claim));
    if (closed != nullptr) *closed = was_mine ? 1 : 0;
  });
}

int crs_ledger_release(const crs_claim* claim) {
  return guard([&] { crs::service().ledger().release(crs::c::claim_of(claim)); });
}

int crs_ledger_add_use(const crs_claim* claim, const char* user, crs_use* use) {
  return guard([&] {
    require(user, "the user's name");
    require(use, "the place for the use");
    const crs::Use made = crs::service().ledger().add_use(crs::c::claim_of(claim), user);
    *use = {{made.claim.number, made.claim.generation}, made.id};
  });
}

int crs_ledger_is_usable(const crs_use* use, int* usable) {
  return guard([&] {
    require(usable, "the place for the answer");
    *usable = crs::service().ledger().is_usable(crs::c::use_of(use)) ? 1 : 0;
  });
}

int crs_ledger_end_use(const crs_use* use) {
  return guard([&] { crs::service().ledger().end_use(crs::c::use_of(use)); });
}
