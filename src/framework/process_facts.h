// What /proc says of a process, for the manifest of a snapshot whose component did not say it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "crs/component.hpp"

namespace crs {

// The arguments of a process; none for one that has hidden them.
std::vector<std::string> command_line_of(pid_t pid);

// Fills in what is empty or 0: process id, number of threads, executable, command line, working directory. What cannot
// be seen stays empty.
void fill_in_process(SnapshotContents& contents, pid_t pid);

}  // namespace crs
