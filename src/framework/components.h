// The components (checkpointers) that are there, and the choice among them.
//
// The registry knows a component from the moment it is added; it asks it whether it can work here (Component::query)
// only when a selection or a listing needs to know. No answer of a component, an exception included, harms the others.
// Not thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crs/component.hpp"
#include "framework/parameters.h"

namespace crs {

// Where lines for a person go, one at a time, without a newline at the end.
using OutputLine = std::function<void(const std::string&)>;

// A component that was asked.
struct ComponentStatus {
  std::string name;
  std::string version;
  InterfaceVersion interface_version;
  std::string description;
  Capabilities capabilities;
  bool usable = false;
  int priority =
      0;  // the parameter crs_NAME_priority if that is set, else what the component said; 0 where it is not usable
  std::string reason;  // why it is not usable, or a remark
};

std::string to_text(const InterfaceVersion& version);

// Whether a component may be called so: small letters, digits and '_', at most 63 of them, and not "base", which stands
// for the framework itself in the names of parameters.
bool is_component_name(std::string_view name);

// The selected component: its module is initialised, and finalised when this object ends.
class Selection {
 public:
  // Calls init(); an Error from it carries the component's name.
  Selection(ComponentStatus status, std::unique_ptr<Module> module, OutputLine output);
  Selection(Selection&&) noexcept = default;
  Selection& operator=(Selection&&) = delete;
  ~Selection();

  const std::string& name() const noexcept { return status_.name; }
  Module& module() const noexcept { return *module_; }
  const ComponentStatus& status() const noexcept { return status_; }

 private:
  ComponentStatus status_;
  std::unique_ptr<Module> module_;
  OutputLine output_;
};

class ComponentRegistry {
 public:
  // Declares the framework's own parameters (crs, crs_base_verbose). `parameters` must outlive the registry.
  ComponentRegistry(Parameters& parameters, OutputLine output);

  // Takes the component in and declares crs_NAME_priority, crs_NAME_verbose and its own parameters. A component built
  // for another major version of the interface is kept only to be listed as refused. A null pointer (a component that
  // is not part of this build) is left out. Throws an Error of kind Failed if the name is taken or not made of small
  // letters, digits and
  // '_'.
  void add(std::unique_ptr<Component> component);

  // Asks every component; in the order in which a selection would prefer them, those that are not usable last.
  std::vector<ComponentStatus> statuses();

  // The component that parameter `crs` asks for: the named one, or, where it is empty, the usable one with the highest
  // priority (ties by name). Throws an Error that says of every component why it cannot be used.
  Selection select();
  bool knows(std::string_view name) const;
  // Throws an Error of kind Usage that lists the components, if none has this name.
  void check_known(std::string_view name);
  // The named component whatever parameter `crs` says: for a restart, which needs the one that wrote the snapshot.
  Selection select(std::string_view name);

 private:
  struct Answer {
    ComponentStatus status;
    std::unique_ptr<Module> module;
  };

  void declare_parameters(Component& component, const std::string& name);
  Answer ask(Component& component) const;
  std::vector<Answer> ask_all() const;
  OutputLine output_of(std::string_view name) const;
  Selection make_selection(Answer& answer) const;
  [[noreturn]] void fail_unknown(std::string_view name, ErrorKind kind);
  Selection select_named(std::string_view name, ErrorKind if_unknown);

  Parameters& parameters_;
  OutputLine output_;
  std::vector<std::unique_ptr<Component>> components_;
};

}  // namespace crs
