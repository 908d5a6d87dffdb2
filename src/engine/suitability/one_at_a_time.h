// No two checkpoints of one process at once, whatever jobs they are for, nor one and a look at whether there can be
// one: each would take the other's tracking of the program's memory, and its stops, for the program's own.
#pragma once

#include <sys/types.h>

#include "base/file_descriptor.h"

namespace crs::engine {

class OneAtATime {
 public:
  // Waits a little for one that is at its last steps. Throws an Error if another checkpoint of the process goes on.
  // Ends with this object, and with this command.
  explicit OneAtATime(pid_t pid);

 private:
  FileDescriptor memory_;
};

}  // namespace crs::engine
