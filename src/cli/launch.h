// Starting a program so that it finds exactly what it would find without crs.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <functional>

#include "cli/signal_state.h"
#include "crs/component.hpp"
#include "crs/error.hpp"

namespace crs::cli {

struct Launch {
  LaunchPlan plan;
  // The program may be traced by any process of its user, where the system's default (Yama, prctl(2) PR_SET_PTRACER)
  // allows ancestors only: without that `crs checkpoint` could not look into it.
  bool allow_tracing = false;
  mode_t file_mode_mask = 022;  // as umask(2) takes it
};

// The program could not be executed.
class ExecutionError : public Error {
 public:
  explicit ExecutionError(const Error& error) : Error(error) {}
  // What a shell returns then: 127 if there is no such program, else 126.
  int exit_status() const noexcept { return error_number() == ENOENT ? 127 : 126; }
};

// Forks, calls `before_exec` with the child's process id, and lets the child execute the program (looked for in PATH as
// execvp(3) does). Returns when the program is running. Throws an ExecutionError, or what `before_exec` threw; then
// there is no child any more. All signals must be blocked (`signals`).
pid_t launch(const Launch& launch, const SignalState& signals, const std::function<void(pid_t)>& before_exec);

}  // namespace crs::cli
