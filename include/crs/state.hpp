// The states a program goes through around a checkpoint and a restart, as its layers are told them. C++17.
#pragma once

namespace [[gnu::visibility("default")]] crs {

enum class State {
  Checkpoint,  // prepare for a snapshot
  RestartPre,  // the image was just restored: release what is stale, reopen nothing
  Restart,     // rebuild
  Continue,    // the same process goes on after the snapshot
  Term,        // the snapshot is taken and the process will end
  Running,     // nothing is going on
  Error,       // the checkpoint failed; the program goes on
};

// "checkpoint", "restart-pre", "restart", "continue", "term", "running", "error".
const char* name_of(State state) noexcept;

}  // namespace crs
