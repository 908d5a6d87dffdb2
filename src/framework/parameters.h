// The tunables of CRS and of its components: each has a name, a type, a default, a description, and a value that one of
// four sources gave it. The later source wins: default, configuration file, environment (CRS_PARAM_name), command line
// (--param name=value) or, in a program with libcrs, what the program itself says when it makes its service.
//
// Sources may be read before the parameters they speak of are declared (a component declares its own when it is found);
// a setting is checked against its parameter's type at the declaration, and reject_unknown() finds the settings that
// nobody declared. Not safe for use by several threads while it is being changed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crs/component.hpp"

namespace crs {

enum class ParameterType { String, Integer, Boolean };
enum class ParameterSource { Default, File, Environment, CommandLine, Program };

const char* name_of(ParameterType type) noexcept;
const char* name_of(ParameterSource source) noexcept;

ParameterType type_of(const ParameterValue& value) noexcept;
// As it would be written on the command line.
std::string to_text(const ParameterValue& value);
// The inverse; nothing if `text` is no value of that type.
std::optional<ParameterValue> parse_value(ParameterType type, const std::string& text);

struct ParameterDeclaration {
  std::string name;
  ParameterValue default_value;  // decides the type
  std::string description;       // one sentence
};

// A declared parameter with its value and where that came from.
struct Parameter {
  ParameterDeclaration declaration;
  ParameterValue value;
  ParameterSource source = ParameterSource::Default;
  std::string origin;  // the file with its line, the variable, the option; empty for the default
};

// The variables of an environment, as a map so that tests can make their own.
using Environment = std::map<std::string, std::string, std::less<>>;
// `block` as in environ(7): NAME=VALUE strings, a null pointer at the end. Entries without '=' are left out.
Environment read_environment(const char* const* block);

// The configuration files for this environment, the one that counts less first: /etc/crs/crs.toml if it exists; then
// $CRS_CONFIG, which must exist, or else the user's own file ($XDG_CONFIG_HOME/crs/crs.toml or ~/.config/crs/crs.toml)
// if it exists.
std::vector<std::filesystem::path> configuration_files(const Environment& environment,
                                                       const std::filesystem::path& system_directory = "/etc/crs");

class Parameters {
 public:
  // Sources. Each throws an Error of kind Usage that names the source for what it cannot understand.
  void read_file(const std::filesystem::path& file);
  void read_environment(const Environment& environment);
  void read_option(std::string_view assignment);   // "name=value"
  void read_program(std::string_view assignment);  // the same, from crs::InitOptions
  // All of the configuration files and the variables of `environment`.
  void read_standard_sources(const Environment& environment);

  // Makes a parameter known and gives it its value. Throws an Error of kind Usage with name, value, type and source if
  // the setting that counts is not of the parameter's type.
  void declare(const ParameterDeclaration& declaration);

  // Throws an Error of kind Usage for a setting whose parameter was never declared; it names the nearest one.
  void reject_unknown() const;

  // The value of a declared parameter of that type; anything else is a defect of the caller (Error of kind Failed).
  const std::string& string(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  bool boolean(std::string_view name) const;
  const ParameterValue& value(std::string_view name) const;  // of any type

  // All that are declared, by name.
  std::vector<Parameter> all() const;

 private:
  struct Setting {
    std::string text;
    std::optional<ParameterType> written_as;  // where the source has types of its own (TOML)
    ParameterSource source = ParameterSource::Default;
    std::string origin;
  };

  void read_assignment(std::string_view assignment, ParameterSource source, const char* origin, const char* advice);
  void set(std::string name, Setting setting);
  static ParameterValue value_of(const Setting& setting, const ParameterDeclaration& declaration);
  template <typename T>
  const T& typed(std::string_view name) const;

  std::map<std::string, Setting, std::less<>> settings_;  // only the one that counts
  std::map<std::string, Parameter, std::less<>> declared_;
};

}  // namespace crs
