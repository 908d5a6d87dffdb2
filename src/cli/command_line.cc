#include "cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "base/error.h"
#include "cli/help.h"
#include "cli/verb.h"
#include "framework/nearest.h"

namespace crs::cli {
namespace {

// How many words come before the first that is neither an option nor an option's value: what follows is a verb's or a
// command's own.
std::size_t options_before_command(const std::vector<std::string>& words) {
  bool value_follows = false;
  std::size_t count = 0;
  for (; count < words.size(); ++count) {
    const std::string& word = words[count];
    if (word == "--" || (!word.starts_with("-") && !value_follows)) break;
    value_follows = word.starts_with("--") && word != "--verbose" && word != "--json" && !word.contains('=');
  }
  return count;
}

// CLI11 takes the value of "--store=" to be the next word: said in two words it is an empty one. Of the first `count`
// words; flags have no values.
std::vector<std::string> with_empty_values(const CLI::App& app, const std::vector<std::string>& words,
                                           std::size_t count) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool is_empty = i < count && word.starts_with("--") && word.find('=') == word.size() - 1;
    const std::string name = is_empty ? word.substr(0, word.size() - 1) : word;
    const CLI::Option* const option = is_empty ? app.get_option_no_throw(name) : nullptr;
    const bool is_empty_value = option != nullptr && option->get_items_expected_max() > 0;
    result.push_back(is_empty_value ? name : word);
    if (is_empty_value) result.emplace_back();
  }
  return result;
}

// CLI11 takes the arguments from the back.
void parse(CLI::App& app, std::vector<std::string> arguments) {
  std::ranges::reverse(arguments);
  app.parse(std::move(arguments));
}

Error usage_error(const CLI::ParseError& problem, const std::string& help) {
  std::string words = problem.what();
  while (!words.empty() && (words.back() == '\n' || words.back() == '.')) words.pop_back();
  constexpr std::string_view kOverride = " was given a disallowed flag override";
  if (words.ends_with(kOverride))
    words = fmt::format("--{} takes no value", words.substr(0, words.size() - kOverride.size()));
  return Error(ErrorKind::Usage, words).advise(fmt::format("See '{}'", help));
}

Error out_of_memory() {
  return Error(ErrorKind::Failed, "there is not enough memory for crs")
      .advise("Raise its limits (ulimit -d, ulimit -v), or end other programs");
}

// Whether --json is among the verb's own arguments.
bool wants_json(const Verb& verb, const std::vector<std::string>& arguments) {
  if (verb.json_help().empty()) return false;
  if (!verb.runs_command()) return std::ranges::find(arguments, "--json") != arguments.end();
  const auto end = arguments.begin() + static_cast<std::ptrdiff_t>(options_before_command(arguments));
  return std::find(arguments.begin(), end, "--json") != end;
}

class CommandLine {
 public:
  explicit CommandLine(Context& context) : context_(context), verbs_(make_verbs()) {}

  int run(const std::vector<std::string>& arguments);

 private:
  bool is_verb(const std::string& name) const;
  Verb& find(const std::string& name) const;
  int dispatch(std::vector<std::string> words, const CLI::App& app);
  int help(const std::vector<std::string>& topics, const CLI::App& app);
  int print_help(Verb& verb);
  int run_verb(Verb& verb, const std::vector<std::string>& arguments);
  int execute(Verb& verb);

  Context& context_;
  std::vector<std::unique_ptr<Verb>> verbs_;
};

bool CommandLine::is_verb(const std::string& name) const {
  return std::ranges::any_of(verbs_, [&](const auto& verb) { return verb->name() == name; });
}

Verb& CommandLine::find(const std::string& name) const {
  const auto found = std::ranges::find_if(verbs_, [&](const auto& verb) { return verb->name() == name; });
  if (found != verbs_.end()) return **found;
  std::vector<std::string> names{"help"};
  for (const auto& verb : verbs_) {
    if (!verb->hidden()) names.push_back(verb->name());
  }
  Error error(ErrorKind::Usage, fmt::format("there is no verb '{}'", name));
  const std::string nearest = meant_name(name, names);
  throw error.advise(nearest.empty() ? "'crs help' lists the verbs" : fmt::format("Did you mean '{}'?", nearest));
}

int CommandLine::print_help(Verb& verb) {
  CLI::App app;
  define_verb(app, verb, context_.options);
  context_.print(app.help());
  return kDone;
}

int CommandLine::help(const std::vector<std::string>& topics, const CLI::App& app) {
  if (topics.size() > 1) fail(ErrorKind::Usage, "'crs help' explains one verb at a time");
  const bool about_verb = !topics.empty() && topics[0] != "help" && !topics[0].starts_with("-");
  if (about_verb) return print_help(find(topics[0]));
  context_.print(app.help());
  return kDone;
}

int CommandLine::execute(Verb& verb) {
  try {
    context_.parameters();  // a mistake in them is one whether this verb needs them or not
    return verb.execute(context_);
  } catch (const Error& error) {
    return context_.report(error, verb.action());
  } catch (const std::bad_alloc&) {
    return context_.report(out_of_memory(), verb.action());
  } catch (const std::exception& problem) {
    return context_.report(Error(ErrorKind::Failed, problem.what()), verb.action());
  }
}

int CommandLine::run_verb(Verb& verb, const std::vector<std::string>& arguments) {
  // Found before the parsing, so that an error in the parsing comes as JSON too.
  if (wants_json(verb, arguments)) context_.options.json = true;
  context_.output_is_programs = verb.runs_command();
  CLI::App app;
  define_verb(app, verb, context_.options);
  const auto its_own = verb.runs_command()
                           ? options_before_command(arguments)
                           : static_cast<std::size_t>(std::ranges::find(arguments, "--") - arguments.begin());
  try {
    parse(app, with_empty_values(app, arguments, its_own));
  } catch (const CLI::CallForHelp&) {
    context_.print(app.help());
    return kDone;
  } catch (const CLI::ParseError& problem) {
    return context_.report(usage_error(problem, fmt::format("crs {} --help", verb.name())), verb.name());
  }
  return execute(verb);
}

int CommandLine::dispatch(std::vector<std::string> words, const CLI::App& app) {
  if (words.empty()) throw Error(ErrorKind::Usage, "there is no verb").advise("'crs help' lists the verbs");
  const std::string first = words.front();
  words.erase(words.begin());
  if (first.starts_with("-"))
    throw Error(ErrorKind::Usage, fmt::format("there is no option '{}'", first)).advise("See 'crs --help'");
  if (first == "help") return help(words, app);
  if (!is_verb(first) && std::ranges::find(words, "--json") != words.end()) context_.options.json = true;
  return run_verb(find(first), words);
}

int CommandLine::run(const std::vector<std::string>& arguments) {
  CLI::App app;
  define_main(app, verbs_, context_.options);
  bool version = false;
  app.add_flag("--version", version, "Print the version and end")->group("Options of all verbs");
  app.prefix_command();  // what follows the verb is the verb's
  try {
    parse(app, with_empty_values(app, arguments, options_before_command(arguments)));
  } catch (const CLI::CallForHelp&) {
    return help({}, app);
  } catch (const CLI::ParseError& problem) {
    throw usage_error(problem, "crs --help");
  }
  if (!version) return dispatch(app.remaining(), app);
  context_.print(fmt::format("crs {}\n", CRS_VERSION));
  return kDone;
}

}  // namespace

void add_name_option(CLI::App& app, std::string& name, const std::string& description) {
  app.add_option("--name", name, description)->type_name("JOB")->check(not_empty("a job's name is not empty"));
}

void add_tcp_option(CLI::App& app, std::string& policy) {
  app.add_option("--tcp", policy, "TCP connections to other programs: reset in a restarted program, refused, or kept")
      ->type_name("reset|refuse|keep")
      ->check(CLI::IsMember({"reset", "refuse", "keep"}));
}

void add_files_option(CLI::App& app, std::vector<std::string>& rules) {
  app.add_option("--files", rules, "What to keep of files written to: reference, copy, ignore; may be repeated")
      ->type_name("POLICY[=GLOB]")
      ->allow_extra_args(false);
}

std::vector<std::unique_ptr<Verb>> make_verbs() {
  std::vector<std::unique_ptr<Verb>> verbs;
  verbs.push_back(make_run_verb());
  verbs.push_back(make_checkpoint_verb());
  verbs.push_back(make_restart_verb());
  verbs.push_back(make_list_verb());
  verbs.push_back(make_show_verb());
  verbs.push_back(make_verify_verb());
  verbs.push_back(make_remove_verb());
  verbs.push_back(make_prune_verb());
  verbs.push_back(make_compact_verb());
  verbs.push_back(make_components_verb());
  verbs.push_back(make_params_verb());
  verbs.push_back(make_check_verb());
  verbs.push_back(make_take_verb());
  return verbs;
}

int run_command_line(const std::vector<std::string>& arguments, std::ostream& output, std::ostream& errors,
                     const char* const* environment, mode_t file_mode_mask) {
  Context context(output, errors, environment);
  context.file_mode_mask = file_mode_mask;
  constexpr const char* kAction = "understand the command line";
  try {
    return CommandLine(context).run(arguments);
  } catch (const Error& error) {
    return context.report(error, kAction);
  } catch (const std::bad_alloc&) {
    return context.report(out_of_memory(), kAction);
  } catch (const std::exception& problem) {
    return context.report(Error(ErrorKind::Failed, problem.what()), kAction);
  }
}

}  // namespace crs::cli
