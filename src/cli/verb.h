// A verb of the command line. Each has a file of its own, named after it.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/context.h"

namespace crs::cli {

// Exit statuses of every verb that does not return a program's own.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kNotFound = 3;
inline constexpr int kNothingToDo = 3;
inline constexpr int kDamaged = 4;

class Verb {
 public:
  virtual ~Verb() = default;

  virtual std::string name() const = 0;
  // One line, as the list of verbs shows it.
  virtual std::string summary() const = 0;
  // What follows "Usage: crs ": "checkpoint [OPTIONS] JOB|PID".
  virtual std::string usage() const = 0;
  // A paragraph at the head of --help.
  virtual std::string description() const = 0;
  // What --help shows after the options: notes, an example or more, the exit statuses.
  virtual std::string footer() const = 0;
  // Whether it is for crs's own use: no list of verbs shows it.
  virtual bool hidden() const { return false; }
  // What --json is for; "": it has none.
  virtual std::string json_help() const { return "Print the result, or the error, as JSON"; }
  // Whether standard output is that of a command in its arguments, which ends its own options: errors as JSON go to
  // standard error, then.
  virtual bool runs_command() const { return false; }
  // Adds its own options and arguments.
  virtual void define(CLI::App& app) = 0;
  // What an error says could not be done: "checkpoint sim". After the parsing.
  virtual std::string action() const = 0;
  // Returns the exit status; throws Error.
  virtual int execute(Context& context) = 0;
};

// --name, which check_chosen_job_name() still has to approve. An empty one, of a variable that a script forgot to set,
// is not the same as none.
void add_name_option(CLI::App& app, std::string& name, const std::string& description);

// --tcp of what takes checkpoints.
void add_tcp_option(CLI::App& app, std::string& policy);

// --files of what takes checkpoints: the rules as they are given (engine's file_rules.h).
void add_files_option(CLI::App& app, std::vector<std::string>& rules);

std::unique_ptr<Verb> make_run_verb();
std::unique_ptr<Verb> make_checkpoint_verb();
std::unique_ptr<Verb> make_restart_verb();
std::unique_ptr<Verb> make_list_verb();
std::unique_ptr<Verb> make_show_verb();
std::unique_ptr<Verb> make_verify_verb();
std::unique_ptr<Verb> make_remove_verb();
std::unique_ptr<Verb> make_prune_verb();
std::unique_ptr<Verb> make_compact_verb();
std::unique_ptr<Verb> make_components_verb();
std::unique_ptr<Verb> make_params_verb();
std::unique_ptr<Verb> make_check_verb();
std::unique_ptr<Verb> make_take_verb();

// All of them, in the order in which a newcomer needs them.
std::vector<std::unique_ptr<Verb>> make_verbs();

}  // namespace crs::cli
