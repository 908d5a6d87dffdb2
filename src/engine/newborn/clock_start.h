// From where the clocks of a restarted program go on: in a time namespace that is made for it (time_namespaces(7)).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/file_descriptor.h"

namespace crs::engine {

struct ClockStart {
  std::int64_t monotonic = 0;  // CLOCK_MONOTONIC, in nanoseconds
  std::int64_t boottime = 0;   // CLOCK_BOOTTIME
};

// Whether this process may make a time namespace for its children, or (`in_user_namespace`) in a user namespace that it
// makes.
bool may_set_clocks(bool in_user_namespace);

// While this lives, processes that the calling thread makes are in a new time namespace, in which the clocks begin at
// `start`, or up to a hundredth of a second later: by whole ticks of the start times in /proc.
class ClocksOfChildren {
 public:
  explicit ClocksOfChildren(const ClockStart& start);
  ~ClocksOfChildren();
  ClocksOfChildren(const ClocksOfChildren&) = delete;
  ClocksOfChildren& operator=(const ClocksOfChildren&) = delete;

  // So is the calling process itself, which has one thread, from now on.
  void enter();

 private:
  void leave() noexcept;

  FileDescriptor before_;
  pid_t maker_;
};

}  // namespace crs::engine
