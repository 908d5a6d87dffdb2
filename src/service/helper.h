// Starting the crs that takes a program's snapshots, so that the program has no child from it, gets no SIGCHLD and
// finds nothing changed.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "wire/connection.h"

namespace crs {

// The crs to start: what the parameter crs_helper says, else the installed one, else the one in PATH. "" where none can
// be executed; a name that was given is taken for what it is, so that an error names it.
std::string find_helper(const std::string& parameter);

// What the helper gets of the program's standard streams: standard error alone, or all that are open.
enum class Streams { Errors, Callers };

struct HelperTask {
  std::string name = "takes the snapshot";  // as in "the crs that takes the snapshot"
  Streams streams = Streams::Errors;
};

// Starts `program` with `arguments` and `--fd 3`, where 3 is one end of a socket, in the environment given
// (NAME=VALUE), and returns the other end. The helper has a session of its own, no signals blocked or ignored, and of
// the program's descriptors only those streams. Where the system lets a process be traced by its ancestors only
// (Yama), the program allows it to the helper. Throws if the program cannot be executed.
wire::Connection start_helper(const std::string& program, const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment, const HelperTask& task = {});

}  // namespace crs
