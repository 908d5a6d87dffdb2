#include "cli/context.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "components/native/native.h"
#include "components/none/none.h"
#include "framework/discovery.h"

namespace crs::cli {
namespace {

const char* name_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::Failed:
      return "failed";
    case ErrorKind::Usage:
      return "usage";
    case ErrorKind::NotFound:
      return "not found";
    case ErrorKind::Damaged:
      return "damaged";
    case ErrorKind::Refused:
      return "refused";
    case ErrorKind::ProgramGone:
      return "program gone";
  }
  return "failed";
}

// The process that a refusal names, or null.
Json process_in(const std::string& text) {
  constexpr std::string_view kWord = "process ";
  const std::size_t place = text.find(kWord);
  pid_t pid = 0;
  if (place == std::string::npos) return nullptr;
  const char* const number = text.data() + place + kWord.size();
  if (std::from_chars(number, text.data() + text.size(), pid).ec != std::errc{}) return nullptr;
  return pid;
}

Json refusals_json(const std::vector<Refusal>& refusals) {
  Json list = Json::array();
  for (const Refusal& refusal : refusals) {
    list.push_back({{"process", process_in(refusal.what)}, {"what", refusal.what}, {"advice", refusal.advice}});
  }
  return list;
}

std::string advice_of(const Error& error) {
  std::string all = error.advice();
  for (const Refusal& refusal : error.refusals()) {
    if (refusal.advice.empty() || all.contains(refusal.advice)) continue;
    all += all.empty() ? refusal.advice : "; " + refusal.advice;
  }
  return all;
}

Json error_json(const Error& error, std::string_view action, int exit_status) {
  return {{"error",
           {{"kind", name_of(error.kind())},
            {"action", action},
            {"message", error.what()},
            {"chain", error.chain()},
            {"advice", advice_of(error)},
            {"refusals", refusals_json(error.refusals())},
            {"exit_status", exit_status}}}};
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    if (c == '\n') {
      shown += "; ";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      shown += c;
    }
  }
  return shown;
}

Context::Context(std::ostream& output, std::ostream& errors, const char* const* environment)
    : output_(output), errors_(errors), environment_(read_environment(environment)) {}

void Context::prepare() {
  if (components_ != nullptr) return;
  auto parameters = std::make_unique<Parameters>();
  parameters->read_standard_sources(environment_);
  for (const std::string& assignment : options.parameters) parameters->read_option(assignment);
  auto components = std::make_unique<ComponentRegistry>(*parameters, [this](const std::string& line) { say(line); });
  components->add(make_none_component());
  components->add(make_native_component());
  for (auto& [component, file] : discover_components(component_directories(environment_))) {
    try {
      components->add(std::move(component));
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::Usage) throw;  // a parameter of the user's, not the component
      say(fmt::format("warning: the component in {} is left out: {}", file.native(), error.what()));
    }
  }
  parameters->reject_unknown();
  parameters_ = std::move(parameters);
  components_ = std::move(components);
}

Parameters& Context::parameters() {
  prepare();
  return *parameters_;
}

ComponentRegistry& Context::components() {
  prepare();
  return *components_;
}

Store& Context::store() {
  if (store_ == nullptr) {
    store_ = std::make_unique<Store>(options.store.empty() ? Store::default_location() : options.store);
  }
  return *store_;
}

void Context::print(std::string_view text) {
  output_ << text << std::flush;
  if (!output_) fail(ErrorKind::Failed, "standard output cannot be written to");
}

void Context::print_json(const Json& json) { print(to_text(json)); }

void Context::say(std::string_view line) { errors_ << "crs: " << printable(line) << "\n" << std::flush; }

void Context::say_more(std::string_view line) {
  if (options.verbose) say(line);
}

int Context::report(const Error& error, std::string_view action, std::optional<int> exit_status) {
  const int status = exit_status.value_or(exit_status_of(error.kind()));
  const bool as_json_alone = options.json && output_is_programs;
  if (!as_json_alone) say(fmt::format("cannot {}: {}", action, error.what()));
  if (options.json) (as_json_alone ? errors_ : output_) << to_text(error_json(error, action, status)) << std::flush;
  return status;
}

}  // namespace crs::cli
