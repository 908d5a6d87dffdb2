// The command line as a whole: finds the verb, parses its options, runs it and turns what it throws into a message and
// an exit status.
#pragma once

#include <sys/types.h>

#include <ostream>
#include <string>
#include <vector>

namespace crs::cli {

// `arguments` without the program's name; `environment` as in environ(7); `file_mode_mask` is what a program that crs
// starts is to have. Returns the exit status; no error leaves it.
int run_command_line(const std::vector<std::string>& arguments, std::ostream& output, std::ostream& errors,
                     const char* const* environment, mode_t file_mode_mask = 022);

}  // namespace crs::cli
