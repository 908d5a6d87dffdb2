#include "engine/suitability/one_at_a_time.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/error.h"

namespace crs::engine {

namespace {

// One that has committed its snapshot lets the next one of the same job begin, and has only little left to do; and who
// only looks at a program does not take long.
constexpr std::chrono::milliseconds kLastSteps{2000};
constexpr std::chrono::milliseconds kPause{2};

// flock(2) has no time limit, and a signal to interrupt it would be the whole process's: so it is asked again at
// intervals.
bool lock_soon(int file) {
  const auto end = std::chrono::steady_clock::now() + kLastSteps;
  while (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return true;  // not to be had here at all: then there is no such lock
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

}  // namespace

// A lock on what only those can open who may take a checkpoint (ptrace(2), access mode checking). Who cannot finds out
// soon enough why.
OneAtATime::OneAtATime(pid_t pid) : memory_(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC)) {
  if (!memory_ || lock_soon(memory_.get())) return;
  throw Error(ErrorKind::Failed, fmt::format("another checkpoint of process {} is still going on", pid))
      .advise("Try again when it is done");
}

}  // namespace crs::engine
