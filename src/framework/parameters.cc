#include "framework/parameters.h"

#include <toml++/toml.h>

#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/io.h"
#include "framework/nearest.h"

namespace crs {
namespace {

constexpr std::string_view kVariablePrefix = "CRS_PARAM_";
constexpr std::size_t kLargestConfiguration = std::size_t{1} << 20;

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<bool> parse_boolean(std::string_view text) {
  for (const std::string_view yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"false", "no", "off", "0"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

// What a person reads: "an integer".
const char* article_name_of(ParameterType type) noexcept {
  switch (type) {
    case ParameterType::String:
      return "a string";
    case ParameterType::Integer:
      return "an integer";
    case ParameterType::Boolean:
      return "a boolean (true or false)";
  }
  return "unknown";
}

std::optional<std::string> variable(const Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  if (found == environment.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

std::optional<std::filesystem::path> user_configuration(const Environment& environment) {
  if (const auto directory = variable(environment, "XDG_CONFIG_HOME")) {
    return std::filesystem::path(*directory) / "crs" / "crs.toml";
  }
  if (const auto home = variable(environment, "HOME"))
    return std::filesystem::path(*home) / ".config" / "crs" / "crs.toml";
  return std::nullopt;
}

toml::table parse_toml(const std::filesystem::path& file) {
  const std::string text = read_without_waiting(file, kLargestConfiguration);
  try {
    return toml::parse(text, file.native());
  } catch (const toml::parse_error& problem) {
    fail(ErrorKind::Usage, "{}:{}: {}", file.native(), problem.source().begin.line, problem.description());
  }
}

}  // namespace

const char* name_of(ParameterType type) noexcept {
  switch (type) {
    case ParameterType::String:
      return "string";
    case ParameterType::Integer:
      return "integer";
    case ParameterType::Boolean:
      return "boolean";
  }
  return "unknown";
}

const char* name_of(ParameterSource source) noexcept {
  switch (source) {
    case ParameterSource::Default:
      return "default";
    case ParameterSource::File:
      return "file";
    case ParameterSource::Environment:
      return "environment";
    case ParameterSource::CommandLine:
      return "command line";
    case ParameterSource::Program:
      return "the program itself";
  }
  return "unknown";
}

ParameterType type_of(const ParameterValue& value) noexcept {
  if (std::holds_alternative<std::int64_t>(value)) return ParameterType::Integer;
  if (std::holds_alternative<bool>(value)) return ParameterType::Boolean;
  return ParameterType::String;
}

std::string to_text(const ParameterValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const auto* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  return std::get<std::string>(value);
}

std::optional<ParameterValue> parse_value(ParameterType type, const std::string& text) {
  switch (type) {
    case ParameterType::String:
      return text;
    case ParameterType::Integer:
      if (const auto number = parse_integer(text)) return *number;
      return std::nullopt;
    case ParameterType::Boolean:
      if (const auto truth = parse_boolean(text)) return *truth;
      return std::nullopt;
  }
  return std::nullopt;
}

Environment read_environment(const char* const* block) {
  Environment environment;
  for (const char* const* entry = block; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    // Of a name that stands there twice getenv(3) finds the first.
    if (equals != std::string_view::npos) environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

std::vector<std::filesystem::path> configuration_files(const Environment& environment,
                                                       const std::filesystem::path& system_directory) {
  std::vector<std::filesystem::path> files;
  std::error_code ignored;
  if (const auto file = system_directory / "crs.toml"; std::filesystem::exists(file, ignored)) files.push_back(file);
  if (const auto named = variable(environment, "CRS_CONFIG")) {
    files.emplace_back(*named);
  } else if (const auto file = user_configuration(environment); file && std::filesystem::exists(*file, ignored)) {
    files.push_back(*file);
  }
  return files;
}

void Parameters::read_file(const std::filesystem::path& file) {
  const toml::table table = in_context("reading the configuration file", [&] { return parse_toml(file); });
  for (const auto& [key, node] : table) {
    const std::string origin = fmt::format("{}:{}", file.native(), node.source().begin.line);
    Setting setting{.text = {}, .written_as = std::nullopt, .source = ParameterSource::File, .origin = origin};
    if (const auto* text = node.as_string()) {
      setting.text = text->get();
      setting.written_as = ParameterType::String;
    } else if (const auto* number = node.as_integer()) {
      setting.text = std::to_string(number->get());
      setting.written_as = ParameterType::Integer;
    } else if (const auto* truth = node.as_boolean()) {
      setting.text = truth->get() ? "true" : "false";
      setting.written_as = ParameterType::Boolean;
    } else {
      fail(ErrorKind::Usage, "{}: parameter '{}' is neither a string nor an integer nor a boolean", origin, key.str());
    }
    set(std::string(key.str()), std::move(setting));
  }
}

void Parameters::read_environment(const Environment& environment) {
  for (const auto& [name, value] : environment) {
    if (!name.starts_with(kVariablePrefix)) continue;
    set(name.substr(kVariablePrefix.size()),
        {.text = value, .written_as = std::nullopt, .source = ParameterSource::Environment, .origin = name});
  }
}

void Parameters::read_assignment(std::string_view assignment, ParameterSource source, const char* origin,
                                 const char* advice) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw Error(ErrorKind::Usage, fmt::format("'{}' does not set a parameter", assignment)).advise(advice);
  }
  set(std::string(assignment.substr(0, equals)), {.text = std::string(assignment.substr(equals + 1)),
                                                  .written_as = std::nullopt,
                                                  .source = source,
                                                  .origin = origin});
}

void Parameters::read_option(std::string_view assignment) {
  read_assignment(assignment, ParameterSource::CommandLine, "--param", "Write --param NAME=VALUE");
}

void Parameters::read_program(std::string_view assignment) {
  read_assignment(assignment, ParameterSource::Program, "init options",
                  "The program's init options hold parameters as NAME=VALUE");
}

void Parameters::read_standard_sources(const Environment& environment) {
  for (const std::filesystem::path& file : configuration_files(environment)) read_file(file);
  read_environment(environment);
}

void Parameters::set(std::string name, Setting setting) {
  const auto declared = declared_.find(name);
  const auto [place, fresh] = settings_.try_emplace(std::move(name));
  if (!fresh && place->second.source > setting.source) return;
  place->second = std::move(setting);
  if (declared == declared_.end()) return;
  Parameter& parameter = declared->second;
  parameter.value = value_of(place->second, parameter.declaration);
  parameter.source = place->second.source;
  parameter.origin = place->second.origin;
}

ParameterValue Parameters::value_of(const Setting& setting, const ParameterDeclaration& declaration) {
  const ParameterType type = type_of(declaration.default_value);
  const bool same_type = !setting.written_as || *setting.written_as == type;
  if (same_type) {
    if (auto value = parse_value(type, setting.text)) return std::move(*value);
  }
  fail(ErrorKind::Usage, "parameter '{}' is {}, but {} ({}) sets it to '{}'{}", declaration.name, article_name_of(type),
       name_of(setting.source), setting.origin, setting.text,
       same_type ? "" : fmt::format(", {}", article_name_of(*setting.written_as)));
}

void Parameters::declare(const ParameterDeclaration& declaration) {
  Parameter parameter{.declaration = declaration, .value = declaration.default_value, .source = {}, .origin = {}};
  if (const auto setting = settings_.find(declaration.name); setting != settings_.end()) {
    parameter.value = value_of(setting->second, declaration);
    parameter.source = setting->second.source;
    parameter.origin = setting->second.origin;
  }
  const auto [place, fresh] = declared_.try_emplace(declaration.name, std::move(parameter));
  if (!fresh) fail(ErrorKind::Failed, "parameter '{}' is declared twice", place->first);
}

void Parameters::reject_unknown() const {
  for (const auto& [name, setting] : settings_) {
    if (declared_.contains(name)) continue;
    std::vector<std::string> known;
    for (const auto& [known_name, parameter] : declared_) known.push_back(known_name);
    Error error(ErrorKind::Usage, fmt::format("there is no parameter '{}', which {} ({}) sets", name,
                                              name_of(setting.source), setting.origin));
    throw error.advise(advice_on_parameter(name, known));
  }
}

const ParameterValue& Parameters::value(std::string_view name) const {
  const auto found = declared_.find(name);
  if (found == declared_.end()) fail(ErrorKind::Failed, "parameter '{}' was never declared", name);
  return found->second.value;
}

template <typename T>
const T& Parameters::typed(std::string_view name) const {
  const T* value = std::get_if<T>(&this->value(name));
  if (value == nullptr) fail(ErrorKind::Failed, "parameter '{}' is read as another type than it was declared", name);
  return *value;
}

const std::string& Parameters::string(std::string_view name) const { return typed<std::string>(name); }
std::int64_t Parameters::integer(std::string_view name) const { return typed<std::int64_t>(name); }
bool Parameters::boolean(std::string_view name) const { return typed<bool>(name); }

std::vector<Parameter> Parameters::all() const {
  std::vector<Parameter> list;
  for (const auto& [name, parameter] : declared_) list.push_back(parameter);
  return list;
}

}  // namespace crs
