// The texts of --help.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/verb.h"

namespace crs::cli {

// Adds --store, --param, --verbose, --json and --help, which stand before or after the verb.
void define_shared_options(CLI::App& app, SharedOptions& options, const std::string& json_help);

// Names the parser after the verb and gives it the verb's options, usage line and explanations.
void define_verb(CLI::App& app, Verb& verb, SharedOptions& options);

// The same for the command line up to the verb.
void define_main(CLI::App& app, const std::vector<std::unique_ptr<Verb>>& verbs, SharedOptions& options);

// Refuses an empty value, with these words.
CLI::Validator not_empty(const std::string& problem);

// The paragraph on exit statuses of a verb that does not return a program's: each of `statuses` (0 to 4) with its
// general meaning.
std::string exit_statuses(const std::vector<int>& statuses);

}  // namespace crs::cli
