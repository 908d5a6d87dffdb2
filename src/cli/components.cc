#include <fmt/format.h>

#include "cli/verb.h"

namespace crs::cli {
namespace {

Json json_of(const Capabilities& capabilities) {
  return {{"process_ids", capabilities.process_ids},
          {"threads", capabilities.threads},
          {"pipes", capabilities.pipes},
          {"files", capabilities.files},
          {"local_sockets", capabilities.local_sockets},
          {"outside_connections", capabilities.outside_connections},
          {"other_processes", capabilities.other_processes}};
}

Json json_of(const ComponentStatus& status, bool selected) {
  return {{"name", status.name},
          {"version", status.version},
          {"interface_version", crs::to_text(status.interface_version)},
          {"description", status.description},
          {"usable", status.usable},
          {"priority", status.priority},
          {"selected", selected},
          {"reason", status.reason},
          {"brings_back", json_of(status.capabilities)}};
}

std::string line_of(const ComponentStatus& status, bool selected) {
  const std::string state = status.usable ? std::to_string(status.priority) : "-";
  const std::string remark = status.usable ? status.description : "cannot be used: " + status.reason;
  return fmt::format("{} {:<10} {:<10} {:>8}  {}\n", selected ? '*' : ' ', status.name, status.version, state, remark);
}

class ComponentsVerb : public Verb {
 public:
  std::string name() const override { return "components"; }
  std::string summary() const override { return "List the checkpointers that can be selected"; }
  std::string usage() const override { return "components [OPTIONS]"; }
  std::string description() const override {
    return "Lists every component (checkpointer): whether it can be used here, its priority, and if not, why not.\n"
           "The one that would be selected has a star.";
  }
  std::string footer() const override {
    return "\n'--param crs=NAME' or '--component NAME' selects one; without that the highest priority wins.\n"
           "Components are part of crs, or shared objects in the directories of $CRS_COMPONENT_PATH and in the "
           "installed\n"
           "one; of those that cannot be loaded the reason is shown.\n\n"
           "Example:\n  crs components\n  crs components --param crs=none --json\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage\n";
  }
  std::string action() const override { return "list the components"; }
  void define(CLI::App& app) override { static_cast<void>(app); }

  int execute(Context& context) override {
    const std::string& wished = context.parameters().string("crs");
    const std::vector<ComponentStatus> statuses = context.components().statuses();
    std::string text = fmt::format("  {:<10} {:<10} {:>8}  {}\n", "NAME", "VERSION", "PRIORITY", "");
    Json list = Json::array();
    for (const ComponentStatus& status : statuses) {
      const bool selected = status.usable && (wished.empty() ? &status == &statuses.front() : status.name == wished);
      text += line_of(status, selected);
      list.push_back(json_of(status, selected));
    }
    if (context.options.json) {
      context.print_json(Json{{"components", list}});
    } else {
      context.print(text);
    }
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Verb> make_components_verb() { return std::make_unique<ComponentsVerb>(); }

}  // namespace crs::cli
