// The program `crs`.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "cli/command_line.h"

namespace {

// A standard stream that is closed would be taken by the next file that is opened, and messages would land in it. The
// stand-in is closed on exec, so that a program started by `crs run` finds what it would find without crs; one that is
// restarted gets it. What crs itself cannot print is still an error.
void occupy_standard_streams() {
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) continue;
    if (::open("/dev/null", O_RDWR | O_CLOEXEC) < 0) return;
    if (number == STDOUT_FILENO) std::cout.setstate(std::ios::badbit);
  }
}

// A stack that is too small ends crs by SIGSEGV, perhaps in the middle of a checkpoint.
bool has_room_on_stack() {
  constexpr rlim_t kLeast = rlim_t{256} << 10;
  rlimit limit{};
  return ::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= kLeast;
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  if (!has_room_on_stack()) {
    std::cerr << "crs: the limit of the stack (ulimit -s) is too small for crs: it needs 256 KiB\n";
    return 1;
  }
  // What crs creates is its user's alone, and stays usable for that user, whatever the caller's mask (umask(2)).
  const mode_t callers_mask = ::umask(S_IRWXG | S_IRWXO);
  return crs::cli::run_command_line(std::vector<std::string>(argv + 1, argv + argc), std::cout, std::cerr, environ,
                                    callers_mask);
}
