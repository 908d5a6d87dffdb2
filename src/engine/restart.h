// A restart: checks a snapshot, builds a process from it, and lets that run.
#pragma once

#include "crs/component.hpp"

namespace crs::engine {

// Starts the program of the snapshot in the directory `snapshot.location`. Nothing of the program has run if this
// throws, and nothing is left of it. The caller must have one thread only (the newborn is a copy of it) and no other
// use of SIGCHLD meanwhile.
RestartedProgram restart(const Snapshot& snapshot, const RestartOptions& options);

}  // namespace crs::engine
