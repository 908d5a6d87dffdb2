// For programs that save themselves: what component self needs to know of them. The same as crs/self.h, which explains
// it, with exceptions. C++17; every function may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#pragma GCC visibility push(default)

namespace crs::self {

// Protects memory under a number of the program's own. True: this is a restarted program, and the memory now holds what
// was saved, which happens once for each number. Throws an Error if the number is taken, the snapshot is damaged or
// holds another size under this number.
//
//   if (!crs::self::protect(1, grid.data(), grid.size() * sizeof grid[0])) initialise(grid);
bool protect(std::uint64_t id, void* memory, std::size_t bytes);

// Ends that. Throws an Error if nothing is protected under the number.
void unprotect(std::uint64_t id);

// What a restart runs, and where ("": the working directory at the time of the checkpoint). Never through a shell.
struct RestartCommand {
  std::vector<std::string> arguments;  // none: the program's own command line
  std::string working_directory;
};
void set_restart_command(RestartCommand command);

// Each may be empty, and fails by throwing.
struct Callbacks {
  std::function<void(RestartCommand&)> checkpoint;  // before the snapshot is complete; may change the command
  std::function<void()> go_on;                      // the program goes on
  std::function<void()> restart;                    // this is the restarted program
};
// In a restarted program `restart` is called at once, if no other restart callback was; what it throws comes out here.
void set_callbacks(Callbacks callbacks);

// The snapshot that this program was restarted from, JOB@SEQ.
std::optional<std::string> restarted_from();

}  // namespace crs::self

#pragma GCC visibility pop
