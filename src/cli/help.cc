#include "cli/help.h"

#include <fmt/format.h>

#include <array>

namespace crs::cli {
namespace {

constexpr const char* kSharedGroup = "Options of all verbs";
constexpr std::size_t kColumn = 30;

constexpr const char* kIntroduction =
    "crs freezes a running program into a verified snapshot on disk and starts it again from there.\n"
    "Neither the program nor the system has to be prepared for it.";

constexpr const char* kMainFooter = R"(
'crs help VERB' or 'crs VERB --help' explains a verb.

Example:
  crs run --name sim -- ./simulate input.dat &
  crs checkpoint --kill sim     # prints sim@1
  crs restart sim               # goes on from there

Environment:
  CRS_STORE        where snapshots are kept
                   (default: $XDG_STATE_HOME/crs, else ~/.local/state/crs)
  CRS_CONFIG       the configuration file
                   (default: $XDG_CONFIG_HOME/crs/crs.toml, else ~/.config/crs/crs.toml)
  CRS_PARAM_name   sets parameter `name`
  CRS_COMPONENT_PATH
                   directories with more components, separated by colons

)";

constexpr const char* kProgramStatus =
    "  'crs run' and 'crs restart' in the foreground return the program's own status,\n"
    "  128+N if signal N ended it.";

constexpr std::array<const char*, 5> kMeanings = {
    "done", "failed", "wrong usage", "no such job, snapshot or process", "a snapshot is damaged",
};

// CLI11's layout with a usage line of one's own.
class HelpFormatter : public CLI::Formatter {
 public:
  explicit HelpFormatter(std::string usage) : usage_(std::move(usage)) { column_width(kColumn); }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    static_cast<void>(app);
    static_cast<void>(name);
    return usage_;
  }

 private:
  std::string usage_;
};

std::string verb_list(const std::vector<std::unique_ptr<Verb>>& verbs) {
  std::string text = "\nVerbs:\n";
  for (const auto& verb : verbs) {
    if (!verb->hidden()) text += fmt::format("  {:<12}{}\n", verb->name(), verb->summary());
  }
  text += fmt::format("  {:<12}{}\n", "help", "Explain a verb");
  return text;
}

// CLI11 would read "--json=3" as a number of times.
void take_flags_without_values(CLI::App& app) {
  for (CLI::Option* const option : app.get_options()) {
    if (option->get_items_expected_max() == 0) option->disable_flag_override();
  }
}

}  // namespace

CLI::Validator not_empty(const std::string& problem) {
  return {[problem](const std::string& text) { return text.empty() ? problem : ""; }, ""};
}

std::string exit_statuses(const std::vector<int>& statuses) {
  std::string text = "Exit statuses:\n";
  for (const int status : statuses)
    text += fmt::format("  {}  {}\n", status, kMeanings.at(static_cast<std::size_t>(status)));
  return text;
}

void define_shared_options(CLI::App& app, SharedOptions& options, const std::string& json_help) {
  app.set_help_flag("-h,--help", "Print this help and end")->group(kSharedGroup);
  app.add_option("--store", options.store, "Where the snapshots are")
      ->type_name("DIR")
      ->check(not_empty("a store has a path"))
      ->group(kSharedGroup);
  // A function, since the option may stand before and after the verb and both places count.
  app.add_option_function<std::vector<std::string>>(
         "--param",
         [&options](const std::vector<std::string>& given) {
           options.parameters.insert(options.parameters.end(), given.begin(), given.end());
         },
         "Set a parameter; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kSharedGroup);
  app.add_flag("--verbose", options.verbose, "Say more on standard error")->group(kSharedGroup);
  if (!json_help.empty()) app.add_flag("--json", options.json, json_help)->group(kSharedGroup);
}

void define_verb(CLI::App& app, Verb& verb, SharedOptions& options) {
  app.description(verb.description());
  app.formatter(std::make_shared<HelpFormatter>(fmt::format("Usage: crs {}\n", verb.usage())));
  app.footer(verb.footer());
  verb.define(app);
  define_shared_options(app, options, verb.json_help());
  take_flags_without_values(app);
}

void define_main(CLI::App& app, const std::vector<std::unique_ptr<Verb>>& verbs, SharedOptions& options) {
  app.description(kIntroduction);
  app.formatter(std::make_shared<HelpFormatter>("Usage: crs [OPTIONS] VERB [ARGUMENTS]\n" + verb_list(verbs)));
  app.footer(kMainFooter + exit_statuses({0, 1, 2, 3, 4}) + kProgramStatus);
  define_shared_options(app, options, "Print the result, or the error, as JSON");
  take_flags_without_values(app);
}

}  // namespace crs::cli
