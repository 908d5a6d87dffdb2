#include <fmt/format.h>

#include <algorithm>

#include "cli/conformance.h"
#include "cli/verb.h"

namespace crs::cli {
namespace {

Json capabilities_json(const Capabilities& capabilities) {
  return {{"process_ids", capabilities.process_ids},
          {"threads", capabilities.threads},
          {"pipes", capabilities.pipes},
          {"files", capabilities.files},
          {"local_sockets", capabilities.local_sockets},
          {"outside_connections", capabilities.outside_connections},
          {"dead_sockets", capabilities.dead_sockets},
          {"other_processes", capabilities.other_processes}};
}

Json status_json(const ComponentStatus& status, bool selected) {
  return {{"name", status.name},
          {"version", status.version},
          {"interface_version", crs::to_text(status.interface_version)},
          {"description", status.description},
          {"usable", status.usable},
          {"priority", status.priority},
          {"selected", selected},
          {"reason", status.reason},
          {"brings_back", capabilities_json(status.capabilities)}};
}

std::string status_line(const ComponentStatus& status, bool selected) {
  const std::string state = status.usable ? std::to_string(status.priority) : "-";
  const std::string remark = status.usable ? status.description : "cannot be used: " + status.reason;
  return fmt::format("{} {:<10} {:<10} {:>8}  {}\n", selected ? '*' : ' ', printable(status.name),
                     printable(status.version), state, printable(remark));
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
           "--conformance puts a program of crs's own through checkpoints and restarts by the component, in a store "
           "of\n"
           "its own, and reports of each thing that the component declares to bring back whether it does.\n\n"
           "Example:\n  crs components\n  crs components --param crs=none --json\n"
           "  CRS_COMPONENT_PATH=$PWD crs components --conformance memo\n\n"
           "Exit statuses:\n  0  done\n  1  failed, or the component does not do what it declares\n  2  wrong usage\n";
  }
  std::string action() const override {
    return conformance_.empty() ? "list the components" : "check component " + conformance_;
  }
  void define(CLI::App& app) override {
    app.add_option("--conformance", conformance_, "Check whether this component does what it declares")
        ->type_name("NAME");
  }

  int execute(Context& context) override {
    const std::string& wished = context.parameters().string("crs");
    for (const std::string& name : {conformance_, wished}) {
      if (!name.empty()) context.components().check_known(name);
    }
    if (!conformance_.empty()) return report_conformance(context);
    const std::vector<ComponentStatus> statuses = context.components().statuses();
    std::string text = fmt::format("  {:<10} {:<10} {:>8}  {}\n", "NAME", "VERSION", "PRIORITY", "");
    Json list = Json::array();
    for (const ComponentStatus& status : statuses) {
      const bool selected = status.usable && (wished.empty() ? &status == &statuses.front() : status.name == wished);
      text += status_line(status, selected);
      list.push_back(status_json(status, selected));
    }
    if (context.options.json) {
      context.print_json(Json{{"components", list}});
    } else {
      context.print(text);
    }
    return kDone;
  }

 private:
  int report_conformance(Context& context) const {
    const std::vector<Finding> findings = check_conformance(context, conformance_);
    const auto failed = std::ranges::count_if(findings, [](const Finding& finding) { return !finding.good; });
    std::string text;
    Json list = Json::array();
    for (const Finding& finding : findings) {
      const std::string why = finding.text.empty() ? "" : fmt::format("\n            {}", printable(finding.text));
      text += fmt::format("  {:<6}  {}{}\n", finding.good ? "ok" : "FAILED", finding.name, why);
      list.push_back({{"name", finding.name}, {"good", finding.good}, {"text", finding.text}});
    }
    text += failed == 0 ? fmt::format("{} does what it declares\n", conformance_)
                        : fmt::format("{} fails {} of {} checks\n", conformance_, failed, findings.size());
    if (context.options.json) {
      context.print_json(Json{{"component", conformance_}, {"conforms", failed == 0}, {"checks", list}});
    } else {
      context.print(text);
    }
    return failed == 0 ? kDone : kFailed;
  }

  std::string conformance_;
};

}  // namespace

std::unique_ptr<Verb> make_components_verb() { return std::make_unique<ComponentsVerb>(); }

}  // namespace crs::cli
