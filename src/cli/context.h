// What every verb is handed: the options that all verbs share, the parameters and components, and the two streams.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/json.h"
#include "crs/error.hpp"
#include "framework/components.h"
#include "framework/parameters.h"
#include "store/store.h"

namespace crs::cli {

struct SharedOptions {
  std::string store;                    // --store, or empty
  std::vector<std::string> parameters;  // --param, as given
  bool verbose = false;
  bool json = false;
};

class Context {
 public:
  // The streams must outlive the context. `environment` as in environ(7).
  Context(std::ostream& output, std::ostream& errors, const char* const* environment);

  SharedOptions options;
  // The caller's file mode creation mask, for a program that crs starts. crs's own (main.cc) takes nothing from the
  // modes that it gives its files.
  mode_t file_mode_mask = 022;
  // Standard output is that of a program: errors as JSON go to standard error.
  bool output_is_programs = false;

  const Environment& environment() const noexcept { return environment_; }
  // All sources read, all components known, nothing unknown set. Made at the first use; throws what is wrong with the
  // sources.
  Parameters& parameters();
  ComponentRegistry& components();

  // The snapshots, at --store or the default place.
  Store& store();

  // To standard output: the result. Throws if it cannot be written.
  void print(std::string_view text);
  void print_json(const Json& json);
  // One line for a person, to standard error, with "crs: " before it. Control characters in it are shown, not sent.
  void say(std::string_view line);
  // As say(), with --verbose only.
  void say_more(std::string_view line);
  // An error as a line on standard error: "crs: cannot ACTION: why. What to do"; with --json also as JSON on standard
  // output, or as JSON alone on standard error. Returns the exit status that goes with it, unless another is given.
  int report(const Error& error, std::string_view action, std::optional<int> exit_status = std::nullopt);

 private:
  void prepare();

  std::ostream& output_;
  std::ostream& errors_;
  Environment environment_;
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<ComponentRegistry> components_;
  std::unique_ptr<Store> store_;
};

// Makes `text` fit to be shown on a terminal in one line: newlines become "; ", other control characters \xNN.
std::string printable(std::string_view text);

}  // namespace crs::cli
