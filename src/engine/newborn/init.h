// The minimal init of a restarted program's private process id namespace.
#pragma once

#include <sys/types.h>

#include "engine/newborn/channel.h"

namespace crs::engine {

// What the init's process is called in /proc/PID/comm; by it a private namespace is recognised as CRS's own.
inline constexpr const char* kInitName = "crs-init";
// The message that says that the init no longer dies with the restart command.
inline constexpr char kInitReady = 'R';

// Runs as process 1: hands signals sent to it on to `program`, reaps everything that is left to it, and ends with the
// program's exit status, or 128+N if signal N ended it. Until the restart command says over `channel` that the program
// runs, it dies with that command.
[[noreturn]] void run_init(pid_t program, Channel& channel);

}  // namespace crs::engine
