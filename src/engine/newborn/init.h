// The minimal init of a restarted program's private process id namespace.
#pragma once

#include <sys/types.h>

#include "base/file_descriptor.h"
#include "engine/newborn/channel.h"
#include "engine/procfs/tree.h"

namespace crs::engine {

// The message that says that the init no longer dies with the restart command.
inline constexpr char kInitReady = 'R';

// How the init tells the restart command, in another process id namespace and so out of the reach of kill(2), that the
// program has stopped: by SIGCHLD, as the kernel tells a parent. It is a pipe whose reading end sends that signal to
// the restart command whenever something arrives (fcntl(2), F_SETOWN and F_SETSIG). The init holds both ends.
class StopReport {
 public:
  // In the restart command, which the reports go to.
  StopReport();
  // In the init; never blocks.
  void send() const noexcept;
  void close() noexcept;
  int read_end() const noexcept { return read_end_.get(); }
  int write_end() const noexcept { return write_end_.get(); }

 private:
  FileDescriptor read_end_;
  FileDescriptor write_end_;
};

// Runs as process 1: hands signals sent to it on to `program`, reaps everything that is left to it, and ends with the
// program's exit status, or 128+N if signal N ended it. Until the restart command says over `channel` that the program
// runs, it dies with that command. Reports through `stops` when the program stops. It has a process group of its own,
// so that a signal to the restart command's group does not go on to the program as if it had been for the init.
[[noreturn]] void run_init(pid_t program, Channel& channel, const StopReport& stops);

}  // namespace crs::engine
