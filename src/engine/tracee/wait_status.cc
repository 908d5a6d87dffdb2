#include "engine/tracee/wait_status.h"

#include <fmt/format.h>

namespace crs::engine {

std::string WaitStatus::to_string() const {
  if (WIFEXITED(raw_)) return fmt::format("exited with status {}", WEXITSTATUS(raw_));
  if (WIFSIGNALED(raw_)) return fmt::format("killed by signal {}", WTERMSIG(raw_));
  if (event() != 0) return fmt::format("stopped by trace event {} (signal {})", event(), signal());
  return fmt::format("stopped by signal {}", signal());
}

}  // namespace crs::engine
