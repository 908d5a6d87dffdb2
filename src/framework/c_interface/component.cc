#include "framework/c_interface/component.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "framework/c_interface/module.h"
#include "framework/c_interface/texts.h"
#include "framework/components.h"
#include "framework/parameters.h"

namespace crs {
namespace {

using c_interface::checked_line;
using c_interface::checked_text;

constexpr std::size_t kVersionEnd = offsetof(crs_component, patch) + sizeof(std::uint32_t);
// The first version had all members up to this one.
constexpr std::size_t kFirstSize = offsetof(crs_component, register_thread) + sizeof(void*);
constexpr std::size_t kMostParameters = 256;

// As much of the table as this version knows; the members that an older one lacks are null.
crs_component copy_of(const crs_component& table, std::size_t bytes) {
  if (table.size > bytes || table.size < kFirstSize) {
    fail(ErrorKind::Failed,
         "its crs_component_table says that it has {} bytes; there are {}, and at least {} are needed", table.size,
         bytes, kFirstSize);
  }
  crs_component copy{};
  std::memcpy(&copy, &table, std::min(table.size, sizeof copy));
  return copy;
}

ParameterType type_of(int type, const std::string& name) {
  switch (type) {
    case CRS_COMPONENT_STRING:
      return ParameterType::String;
    case CRS_COMPONENT_INTEGER:
      return ParameterType::Integer;
    case CRS_COMPONENT_BOOLEAN:
      return ParameterType::Boolean;
    default:
      fail(ErrorKind::Failed, "its parameter '{}' is of an unknown type ({})", name, type);
  }
}

ComponentParameter checked(const crs_component_parameter& parameter) {
  ComponentParameter result;
  result.name = checked_text(parameter.name, c_interface::kLongestName, "a parameter's name");
  if (!is_component_name(result.name)) {
    fail(ErrorKind::Failed, "'{:.100}' is not a name for a parameter", checked_line(parameter.name, 255, "a name"));
  }
  result.description = checked_line(parameter.description, c_interface::kLongestLine, "a parameter's description");
  const std::string text = checked_text(parameter.default_value, c_interface::kLongestLine, "a parameter's default");
  const auto value = parse_value(type_of(parameter.type, result.name), text);
  if (!value) fail(ErrorKind::Failed, "the default of its parameter '{}' is not of its type", result.name);
  result.default_value = *value;
  return result;
}

std::vector<ComponentParameter> checked_parameters(const crs_component& table) {
  if (table.parameter_count > kMostParameters || (table.parameter_count > 0 && table.parameters == nullptr)) {
    fail(ErrorKind::Failed, "it says that it has {} parameters", table.parameter_count);
  }
  std::vector<ComponentParameter> parameters;
  for (std::size_t i = 0; i < table.parameter_count; ++i) parameters.push_back(checked(table.parameters[i]));
  return parameters;
}

Capabilities capabilities_of(std::uint64_t bits) {
  Capabilities capabilities;
  capabilities.process_ids = (bits & CRS_COMPONENT_PROCESS_IDS) != 0;
  capabilities.threads = (bits & CRS_COMPONENT_THREADS) != 0;
  capabilities.pipes = (bits & CRS_COMPONENT_PIPES) != 0;
  capabilities.files = (bits & CRS_COMPONENT_FILES) != 0;
  capabilities.local_sockets = (bits & CRS_COMPONENT_LOCAL_SOCKETS) != 0;
  capabilities.outside_connections = (bits & CRS_COMPONENT_OUTSIDE_CONNECTIONS) != 0;
  capabilities.other_processes = (bits & CRS_COMPONENT_OTHER_PROCESSES) != 0;
  capabilities.dead_sockets = (bits & CRS_COMPONENT_DEAD_SOCKETS) != 0;
  return capabilities;
}

class CComponent final : public Component {
 public:
  CComponent(const crs_component& table, ProgramOffers offers)
      : table_(table),
        name_(checked_text(table.name, c_interface::kLongestName, "its name")),
        version_(checked_line(table.version, c_interface::kLongestName, "its version")),
        description_(checked_line(table.description, c_interface::kLongestLine, "its description")),
        parameters_(checked_parameters(table)),
        host_(std::make_shared<c_interface::Host>(name_, std::move(offers))) {
    if (table_.query == nullptr) fail(ErrorKind::Failed, "it has no query operation");
  }

  void set_output(ComponentOutput output) override { host_->set_output(std::move(output)); }
  void set_settings(ComponentSettings settings) override { host_->set_settings(std::move(settings)); }
  std::string name() const override { return name_; }
  std::string version() const override { return version_; }
  InterfaceVersion interface_version() const override {
    return {static_cast<int>(table_.major), static_cast<int>(table_.minor), static_cast<int>(table_.patch)};
  }
  std::string description() const override { return description_; }
  Capabilities capabilities() const override { return capabilities_of(table_.capabilities); }
  std::vector<ComponentParameter> parameters() const override { return parameters_; }

  QueryResult query() override {
    crs_component_answer answer{};
    answer.size = sizeof answer;
    host_->run("query", [&] { return table_.query(host_->handle(), &answer); });
    QueryResult result;
    result.priority = answer.priority;
    if (answer.reason != nullptr) result.reason = checked_line(answer.reason, c_interface::kLongestLine, "its reason");
    if (answer.usable != 0 && answer.usable != 1) {
      fail(ErrorKind::Failed, "it answers {} to the question whether it is usable", answer.usable);
    }
    if (answer.usable == 0) return result;
    if (table_.checkpoint == nullptr && table_.restart == nullptr) {
      fail(ErrorKind::Failed, "it says that it is usable, but can neither checkpoint nor restart");
    }
    result.module = c_interface::make_module(table_, host_);
    return result;
  }

 private:
  crs_component table_;
  std::string name_;
  std::string version_;
  std::string description_;
  std::vector<ComponentParameter> parameters_;
  std::shared_ptr<c_interface::Host> host_;
};

}  // namespace

InterfaceVersion version_of(const crs_component& table, std::size_t bytes) {
  if (bytes < kVersionEnd) fail(ErrorKind::Failed, "its crs_component_table has {} bytes, too few", bytes);
  return {static_cast<int>(table.major), static_cast<int>(table.minor), static_cast<int>(table.patch)};
}

std::unique_ptr<Component> make_c_component(const crs_component& table, std::size_t bytes, ProgramOffers offers) {
  return std::make_unique<CComponent>(copy_of(table, bytes), std::move(offers));
}

}  // namespace crs
