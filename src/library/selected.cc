#include "library/selected.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "base/error.h"
#include "base/io.h"
#include "base/job_name.h"
#include "components/none/none.h"
#include "crs/self.hpp"
#include "framework/discovery.h"
#include "self/offer.h"
#include "service/helper.h"
#include "service/native_in_program.h"

namespace crs {
namespace {

void say_on_standard_error(const std::string& line) { std::fprintf(stderr, "crs: %s\n", line.c_str()); }

void read_sources(Parameters& parameters, const InitOptions& options) {
  parameters.read_standard_sources(read_environment(environ));
  for (const std::string& assignment : options.parameters) parameters.read_program(assignment);
  if (!options.component.empty()) parameters.read_program("crs=" + options.component);
}

void add_discovered(ComponentRegistry& registry, const OutputLine& output) {
  for (auto& [component, file] :
       discover_components(component_directories(read_environment(environ)), {{"self", self::offer()}})) {
    try {
      registry.add(std::move(component));
    } catch (const Error& error) {
      output(fmt::format("warning: the component in {} is left out: {}", file.native(), error.what()));
    }
  }
}

bool is_restarted_by_self() { return self::offer()->is_restarted() != 0; }

// What component self has restarted begins at main() without it: nothing else calls its restart function.
void require_self_if_restarted(const ComponentRegistry& registry) {
  if (!is_restarted_by_self() || registry.knows("self")) return;
  const std::string reference = self::restarted_from().value_or("");
  throw Error(
      ErrorKind::Failed,
      fmt::format("component self restarted this program from {} but is not found in it: without it the program "
                  "would begin anew instead of going on",
                  reference))
      .advise("Name the directory that holds self.so in CRS_COMPONENT_PATH");
}

}  // namespace

Selected::Selected(const InitOptions& options) : output_(options.output ? options.output : say_on_standard_error) {
  read_sources(parameters_, options);
  registry_ = std::make_unique<ComponentRegistry>(parameters_, output_);
  helper_.program = find_helper(parameters_.string("crs_helper"));
  if (!options.job.empty()) check_chosen_job_name(options.job);
  helper_.job = options.job;
  helper_.restart_limit = seconds("crs_restart_limit");
  // What is wrong is told now, not at the first checkpoint.
  static_cast<void>(seconds("crs_snapshot_limit"));
  static_cast<void>(seconds("crs_wait_limit"));
  if (!options.store.empty()) helper_.arguments = {"--store", absolute_path(options.store)};
  registry_->add(make_none_component());
  registry_->add(make_native_in_program(helper_.program));
  add_discovered(*registry_, output_);
  require_self_if_restarted(*registry_);  // before its parameters are taken for unknown ones
  parameters_.reject_unknown();
  selection_ = std::make_unique<Selection>(select());
  serial_ = std::make_unique<SerialModule>(selection_->module(), selection_->name(), wait_limit());
}

// What component self has restarted goes on with it, whatever is chosen now.
Selection Selected::select() {
  if (!is_restarted_by_self()) return registry_->select();
  const std::string& wished = parameters_.string("crs");
  if (!wished.empty() && wished != "self")
    output_(fmt::format("component self restarted this program, which goes on with it, not with {}", wished));
  return registry_->select("self");
}

std::chrono::seconds Selected::seconds(const std::string& parameter) const {
  constexpr std::int64_t kTenYears = std::int64_t{10} * 365 * 24 * 3600;
  const std::int64_t given = parameters_.integer(parameter);
  if (given < 0) fail(ErrorKind::Usage, "parameter '{}' is {}, a negative number of seconds", parameter, given);
  return std::chrono::seconds(std::clamp<std::int64_t>(given, 1, kTenYears));
}

TakenBy Selected::taken_by() const {
  return {.component = status().name,
          .component_version = status().version,
          .interface_version = status().interface_version,
          .answer_limit = seconds("crs_snapshot_limit")};
}

}  // namespace crs
