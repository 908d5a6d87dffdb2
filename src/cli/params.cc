#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cli/verb.h"
#include "framework/nearest.h"

namespace crs::cli {
namespace {

Json value_json(const ParameterValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Json parameter_json(const Parameter& parameter) {
  return {{"name", parameter.declaration.name},
          {"type", name_of(type_of(parameter.value))},
          {"value", value_json(parameter.value)},
          {"default", value_json(parameter.declaration.default_value)},
          {"source", name_of(parameter.source)},
          {"origin", parameter.origin},
          {"description", parameter.declaration.description}};
}

std::string described(const Parameter& parameter) {
  const std::string origin = parameter.origin.empty() ? "" : fmt::format(" ({})", parameter.origin);
  const auto* string = std::get_if<std::string>(&parameter.value);
  const std::string value = string != nullptr ? fmt::format("\"{}\"", *string) : crs::to_text(parameter.value);
  return fmt::format("{} = {}\n    {}; from: {}{}\n    {}\n", parameter.declaration.name, value,
                     name_of(type_of(parameter.value)), name_of(parameter.source), origin,
                     parameter.declaration.description);
}

class ParamsVerb : public Verb {
 public:
  std::string name() const override { return "params"; }
  std::string summary() const override { return "List every parameter with its value and where that came from"; }
  std::string usage() const override { return "params [OPTIONS] [NAME...]"; }
  std::string description() const override {
    return "Lists every parameter, or those named: value, type, the source of the value, and what it is for.";
  }
  std::string footer() const override {
    return "\nSources, the later one wins: default; /etc/crs/crs.toml; $CRS_CONFIG, else "
           "$XDG_CONFIG_HOME/crs/crs.toml,\n"
           "else ~/.config/crs/crs.toml; the environment (CRS_PARAM_name=value); --param name=value.\n\n"
           "Example:\n  crs params\n  CRS_PARAM_crs_base_verbose=1 crs params crs_base_verbose --json\n\n"
           "Exit statuses:\n  0  done\n  1  failed\n  2  wrong usage (a parameter that does not exist, a value of the "
           "wrong type)\n";
  }
  std::string action() const override { return "list the parameters"; }
  void define(CLI::App& app) override { app.add_option("NAME", names_, "Only these parameters")->type_name(""); }

  int execute(Context& context) override {
    const std::vector<Parameter> all = context.parameters().all();
    std::string text;
    Json list = Json::array();
    for (const Parameter& parameter : selected(all)) {
      text += described(parameter);
      list.push_back(parameter_json(parameter));
    }
    if (context.options.json) {
      context.print_json(Json{{"parameters", list}});
    } else {
      context.print(text);
    }
    return kDone;
  }

 private:
  [[noreturn]] static void fail_unknown(const std::vector<Parameter>& all, const std::string& name) {
    std::vector<std::string> known;
    for (const Parameter& parameter : all) known.push_back(parameter.declaration.name);
    throw Error(ErrorKind::Usage, fmt::format("there is no parameter '{}'", name))
        .advise(advice_on_parameter(name, known));
  }

  std::vector<Parameter> selected(const std::vector<Parameter>& all) const {
    if (names_.empty()) return all;
    std::vector<Parameter> list;
    for (const std::string& name : names_) {
      const auto found =
          std::ranges::find_if(all, [&](const Parameter& parameter) { return parameter.declaration.name == name; });
      if (found == all.end()) fail_unknown(all, name);
      list.push_back(*found);
    }
    return list;
  }

  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Verb> make_params_verb() { return std::make_unique<ParamsVerb>(); }

}  // namespace crs::cli
