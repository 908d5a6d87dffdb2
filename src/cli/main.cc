// The program `crs`.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "cli/command_line.h"

namespace {

// A standard stream that is closed would be taken by the next file that is opened, and messages would land in it. The
// stand-in is closed on exec, so that a program started by `crs run` finds what it would find without crs.
void occupy_standard_streams() {
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) continue;
    if (::open("/dev/null", O_RDWR | O_CLOEXEC) < 0) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  // What crs creates is its user's alone, and stays usable for that user, whatever the caller's mask (umask(2)).
  const mode_t callers_mask = ::umask(S_IRWXG | S_IRWXO);
  return crs::cli::run_command_line(std::vector<std::string>(argv + 1, argv + argc), std::cout, std::cerr, environ,
                                    callers_mask);
}
