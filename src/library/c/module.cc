// crs/crs.h: the operations of a component's module.
#include <cstdlib>
#include <memory>

#include "library/c/options.h"

using crs::c::guard;
using crs::c::require;

struct crs_module {
  explicit crs_module(const crs::InitOptions& options) : module(options), name(module.name()) {}
  crs::SelectedModule module;
  std::string name;
};

namespace {

void replace(char*& place, const std::string& text) {
  char* const copy = crs::c::copy_of(text);
  std::free(place);
  place = copy;
}

void free_list(char** list) {
  for (char** entry = list; entry != nullptr && *entry != nullptr; ++entry) std::free(*entry);
  std::free(static_cast<void*>(list));
}

struct FreeList {
  void operator()(char** list) const { free_list(list); }
};

void replace(char**& place, const std::vector<std::string>& texts) {
  std::unique_ptr<char*, FreeList> list(static_cast<char**>(crs::c::allocate((texts.size() + 1) * sizeof(char*))));
  *list = nullptr;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    char* const copy = crs::c::copy_of(texts[i]);
    list.get()[i + 1] = nullptr;
    list.get()[i] = copy;
  }
  free_list(place);
  place = list.release();
}

crs::Snapshot snapshot_of(const crs_snapshot& given) {
  return {.component = crs::c::text(given.component),
          .reference = crs::c::text(given.reference),
          .location = crs::c::text(given.location),
          .remote_location = crs::c::text(given.remote_location),
          .cold_start = given.cold_start != 0};
}

void give(const crs::Snapshot& snapshot, crs_snapshot& result) {
  replace(result.component, snapshot.component);
  replace(result.reference, snapshot.reference);
  replace(result.location, snapshot.location);
  replace(result.remote_location, snapshot.remote_location);
  result.cold_start = snapshot.cold_start ? 1 : 0;
}

void check(const crs_snapshot* snapshot) {
  require(snapshot, "the snapshot");
  if (snapshot->size < sizeof(crs_snapshot)) crs::fail(crs::ErrorKind::Usage, "the snapshot's size is not set");
}

template <typename Action>
void change(crs_launch_plan* plan, const Action& action) {
  require(plan, "the plan");
  if (plan->size < sizeof(crs_launch_plan)) crs::fail(crs::ErrorKind::Usage, "the plan's size is not set");
  crs::LaunchPlan changed{.rank = plan->rank,
                          .base_directory = crs::c::text(plan->base_directory),
                          .application = crs::c::text(plan->application),
                          .working_directory = crs::c::text(plan->working_directory),
                          .arguments = crs::c::texts(plan->arguments),
                          .environment = crs::c::texts(plan->environment)};
  action(changed);
  replace(plan->application, changed.application);
  replace(plan->working_directory, changed.working_directory);
  replace(plan->arguments, changed.arguments);
  replace(plan->environment, changed.environment);
}

crs::SelectedModule& module_of(crs_module* module) {
  require(module, "the module");
  return module->module;
}

}  // namespace

void crs_snapshot_clear(crs_snapshot* snapshot) {
  if (snapshot == nullptr) return;
  for (char** text : {&snapshot->component, &snapshot->reference, &snapshot->location, &snapshot->remote_location}) {
    std::free(*text);
    *text = nullptr;
  }
  snapshot->cold_start = 0;
}

int crs_module_select(const crs_init_options* options, crs_module** module) {
  return guard([&] {
    require(static_cast<const void*>(module), "the place for the module");
    *module = std::make_unique<crs_module>(crs::c::init_options(options)).release();
  });
}

int crs_module_finalize(crs_module* module) {
  return guard([&] { delete module; });
}

const char* crs_module_name(const crs_module* module) { return module->name.c_str(); }

int crs_module_checkpoint(crs_module* module, pid_t pid, crs_snapshot* snapshot, const crs_checkpoint_options* options,
                          crs_state* state) {
  return guard([&] {
    check(snapshot);
    const crs::ServiceCheckpointOptions given = crs::c::checkpoint_options(options);
    crs::CheckpointOptions wanted;
    wanted.after = given.after;
    wanted.leave_out = given.leave_out;
    wanted.exclude = given.exclude;
    wanted.single = given.single;
    wanted.incremental = given.incremental;
    wanted.tcp = given.tcp;
    wanted.compression = given.compression;
    wanted.write_limit = given.write_limit;
    wanted.files = given.files;
    const auto delayed = [&given](const std::string& line) {
      if (given.progress) given.progress({crs::Progress::Stage::Delayed, line});
    };
    crs::Snapshot made;
    const crs::State result = module_of(module).checkpoint(pid, made, wanted, given.time_limit, delayed);
    give(made, *snapshot);
    if (state != nullptr) *state = static_cast<crs_state>(result);
  });
}

int crs_module_restart(crs_module* module, crs_snapshot* snapshot, int spawn_child, const crs_restart_options* options,
                       pid_t* child) {
  return guard([&] {
    check(snapshot);
    crs::Snapshot wanted = snapshot_of(*snapshot);
    const crs::c::GivenRestartOptions given = crs::c::restart_options(options);
    crs::RestartOptions chosen;
    chosen.ids = given.options.ids;
    chosen.changed_files = given.options.changed_files;
    const pid_t pid = module_of(module).restart(wanted, spawn_child != 0, chosen, given.time_limit, given.options.job);
    give(wanted, *snapshot);
    if (child != nullptr) *child = pid;
  });
}

int crs_module_disable_checkpoint(crs_module* module) {
  return guard([&] { module_of(module).disable_checkpoint(); });
}

int crs_module_enable_checkpoint(crs_module* module) {
  return guard([&] { module_of(module).enable_checkpoint(); });
}

int crs_module_register_thread(crs_module* module) {
  return guard([&] { module_of(module).register_thread(); });
}

int crs_module_prelaunch(crs_module* module, crs_launch_plan* plan) {
  return guard([&] { change(plan, [&](crs::LaunchPlan& changed) { module_of(module).prelaunch(changed); }); });
}

int crs_prelaunch(crs_launch_plan* plan) {
  return guard([&] { change(plan, [](crs::LaunchPlan& changed) { crs::prelaunch(changed); }); });
}
