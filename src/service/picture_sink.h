// A snapshot in the making whose picture somebody outside of the program can take.
#pragma once

#include "crs/component.hpp"

namespace crs {

class PictureSink : public SnapshotSink {
 public:
  // Has the picture of process `pid` (0: this one) taken and committed. That of this one returns twice: with Continue
  // or Term in the process that goes on, with Restart in a restarted one. Throws if there is no snapshot.
  virtual CheckpointOutcome picture(pid_t pid, const CheckpointOptions& options) = 0;
};

}  // namespace crs
