#include "framework/components.h"

#include <algorithm>
#include <cctype>
#include <limits>

#include "base/error.h"
#include "base/thrown.h"
#include "framework/nearest.h"

namespace crs {
namespace {

constexpr std::int64_t kOwnPriority = -1;

std::string parameter_name(std::string_view component, std::string_view what) {
  return fmt::format("crs_{}_{}", component, what);
}

int narrowed(std::int64_t number) {
  return static_cast<int>(
      std::clamp<std::int64_t>(number, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
}

bool preferred(const ComponentStatus& left, const ComponentStatus& right) {
  if (left.usable != right.usable) return left.usable;
  if (left.priority != right.priority) return left.priority > right.priority;
  return left.name < right.name;
}

// "there are: native (priority 50), criu (cannot be used: no criu in PATH)".
std::string listing(const std::vector<ComponentStatus>& statuses) {
  std::string text;
  for (const ComponentStatus& status : statuses) {
    text += text.empty() ? "" : ", ";
    text += status.usable ? fmt::format("{} (priority {})", status.name, status.priority)
                          : fmt::format("{} (cannot be used: {})", status.name, status.reason);
  }
  return text.empty() ? "there are no components" : "there are: " + text;
}

}  // namespace

std::string to_text(const InterfaceVersion& version) {
  return fmt::format("{}.{}.{}", version.major, version.minor, version.patch);
}

bool is_component_name(std::string_view name) {
  constexpr std::size_t kLongest = 63;
  const auto allowed = [](unsigned char c) { return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_'; };
  return !name.empty() && name.size() <= kLongest && name != "base" && std::ranges::all_of(name, allowed);
}

Selection::Selection(ComponentStatus status, std::unique_ptr<Module> module, OutputLine output)
    : status_(std::move(status)), output_(std::move(output)) {
  in_context(fmt::format("initialising component {}", status_.name), [&] { module->init(); });
  module_ = std::move(module);
}

Selection::~Selection() {
  if (module_ == nullptr) return;
  try {
    module_->finalize();
  } catch (const std::exception& problem) {
    if (output_) output_(fmt::format("component {} could not finish its work: {}", status_.name, problem.what()));
  }
}

ComponentRegistry::ComponentRegistry(Parameters& parameters, OutputLine output)
    : parameters_(parameters), output_(std::move(output)) {
  parameters_.declare({"crs", std::string(), "The component to use; empty: the usable one with the highest priority."});
  parameters_.declare(
      {"crs_base_verbose", std::int64_t{0}, "How much the framework and every component say: 0 only what matters."});
  parameters_.declare(
      {"crs_helper", std::string(),
       "The crs that takes the snapshots which a program asks for itself; empty: the installed one, else "
       "the one in PATH."});
  parameters_.declare({"crs_snapshot_limit", std::int64_t{3600},
                       "How many seconds a program with a service waits for the crs that takes its snapshot."});
  parameters_.declare({"crs_restart_limit", std::int64_t{3600},
                       "How many seconds a program with a service waits for the crs that restarts a snapshot for it."});
  parameters_.declare(
      {"crs_wait_limit", std::int64_t{7200},
       "How many seconds a thread of a program with a service waits for another's checkpoint to be over: "
       "to enter a critical section, to unregister a layer, to end the service, to use the component."});
  parameters_.declare(
      {"crs_signal", std::string(),
       "The signal at which a program with a service takes a checkpoint of itself, such as USR1; empty: "
       "none."});
}

void ComponentRegistry::add(std::unique_ptr<Component> component) {
  if (component == nullptr) return;
  const std::string name = component->name();
  if (!is_component_name(name)) fail(ErrorKind::Failed, "'{:.100}' is not a name for a component", name);
  if (std::ranges::any_of(components_, [&](const auto& known) { return known->name() == name; })) {
    fail(ErrorKind::Failed, "there are two components named '{}'", name);
  }
  parameters_.declare({parameter_name(name, "priority"), kOwnPriority,
                       fmt::format("Priority of component {} in the selection; -1: the component's own.", name)});
  parameters_.declare({parameter_name(name, "verbose"), std::int64_t{0},
                       fmt::format("How much component {} says: 0 only what matters.", name)});
  component->set_output([output = output_, name, level = parameters_.integer(parameter_name(name, "verbose")),
                         base = parameters_.integer("crs_base_verbose")](int wanted, const std::string& line) {
    if (output && wanted <= std::max(level, base)) output(fmt::format("{}: {}", name, line));
  });
  declare_parameters(*component, name);
  components_.push_back(std::move(component));
}

void ComponentRegistry::declare_parameters(Component& component, const std::string& name) {
  const InterfaceVersion built_for = component.interface_version();
  // An older one has no such functions, one of another major version is not called.
  if (built_for.major != kInterfaceVersion.major || built_for.minor < 1) return;
  std::vector<std::string> known;
  for (const ComponentParameter& parameter : component.parameters()) {
    parameters_.declare({parameter_name(name, parameter.name), parameter.default_value, parameter.description});
    known.push_back(parameter.name);
  }
  component.set_settings([&parameters = parameters_, name, known = std::move(known)](const std::string& wanted) {
    if (std::ranges::find(known, wanted) == known.end()) {
      fail(ErrorKind::Failed, "component {} has no parameter '{}'", name, wanted);
    }
    return parameters.value(parameter_name(name, wanted));
  });
}

ComponentRegistry::Answer ComponentRegistry::ask(Component& component) const {
  Answer answer;
  ComponentStatus& status = answer.status;
  status.name = component.name();
  status.interface_version = component.interface_version();
  if (status.interface_version.major != kInterfaceVersion.major) {
    // Nothing further may be called: what the rest of the interface means is exactly what another major version
    // changes.
    status.reason = fmt::format("it was built for version {} of the component interface, this is version {}",
                                to_text(status.interface_version), to_text(kInterfaceVersion));
    return answer;
  }
  try {
    status.version = component.version();
    status.description = component.description();
    status.capabilities = component.capabilities();
    QueryResult result = component.query();
    answer.module = std::move(result.module);
    status.usable = answer.module != nullptr;
    status.reason = std::move(result.reason);
    const std::int64_t wished = parameters_.integer(parameter_name(status.name, "priority"));
    if (status.usable) status.priority = wished == kOwnPriority ? result.priority : narrowed(wished);
    if (!status.usable && status.reason.empty()) status.reason = "it declined without a reason";
  } catch (const std::exception& problem) {
    answer.module.reset();
    status.usable = false;
    status.reason = fmt::format("its query failed: {}", problem.what());
  } catch (...) {
    if (is_thread_ending()) throw;
    answer.module.reset();
    status.usable = false;
    status.reason = "its query failed";
  }
  return answer;
}

std::vector<ComponentRegistry::Answer> ComponentRegistry::ask_all() const {
  std::vector<Answer> answers;
  for (const auto& component : components_) answers.push_back(ask(*component));
  std::ranges::sort(answers,
                    [](const Answer& left, const Answer& right) { return preferred(left.status, right.status); });
  return answers;
}

std::vector<ComponentStatus> ComponentRegistry::statuses() {
  std::vector<ComponentStatus> list;
  for (Answer& answer : ask_all()) list.push_back(std::move(answer.status));
  return list;
}

Selection ComponentRegistry::make_selection(Answer& answer) const {
  return {std::move(answer.status), std::move(answer.module), output_};
}

Selection ComponentRegistry::select() {
  const std::string& wished = parameters_.string("crs");
  if (!wished.empty()) return select_named(wished, ErrorKind::Usage);
  std::vector<Answer> answers = ask_all();
  if (answers.empty() || !answers.front().status.usable) {
    throw Error(ErrorKind::Failed, fmt::format("no component can be used; {}", listing(statuses())))
        .advise("'crs check' says what this machine lacks");
  }
  return make_selection(answers.front());
}

Selection ComponentRegistry::select(std::string_view name) { return select_named(name, ErrorKind::Failed); }

bool ComponentRegistry::knows(std::string_view name) const {
  return std::ranges::any_of(components_, [&](const auto& component) { return component->name() == name; });
}

void ComponentRegistry::check_known(std::string_view name) {
  if (knows(name)) return;
  fail_unknown(name, ErrorKind::Usage);
}

Selection ComponentRegistry::select_named(std::string_view name, ErrorKind if_unknown) {
  for (const auto& component : components_) {
    if (component->name() != name) continue;
    Answer answer = ask(*component);
    if (answer.status.usable) return make_selection(answer);
    throw Error(ErrorKind::Failed,
                fmt::format("component {} cannot be used: {}; {}", name, answer.status.reason, listing(statuses())));
  }
  fail_unknown(name, if_unknown);
}

void ComponentRegistry::fail_unknown(std::string_view name, ErrorKind kind) {
  std::vector<std::string> known;
  for (const auto& component : components_) known.push_back(component->name());
  Error error(kind, fmt::format("there is no component '{}'; {}", name, listing(statuses())));
  if (const std::string nearest = meant_name(name, known); !nearest.empty())
    error.advise(fmt::format("Did you mean '{}'?", nearest));
  throw error;
}

}  // namespace crs
