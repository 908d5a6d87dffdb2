#include "engine/suitability/one_at_a_time.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {

// A lock on what only those can open who may take a checkpoint (ptrace(2), access mode checking). Who cannot finds out
// soon enough why.
OneAtATime::OneAtATime(pid_t pid) : memory_(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC)) {
  if (!memory_ || ::flock(memory_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  throw Error(ErrorKind::Failed,
              fmt::format("another checkpoint of process {} is still going on, for another job", pid))
      .advise("Try again when it is done");
}

}  // namespace crs::engine
