// Something that must not stay half done, not even if this process is killed in the middle of it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace crs::engine {

// Runs `action` in a process of its own, which no signal of a terminal or of a process group reaches, and returns what
// it returns. Meanwhile whatever the calling thread traces stays as it is, even if this process
// is killed: that process is its tracer with PTRACE_O_TRACEEXIT (ptrace(2)), so that the thread stops before it exits,
// and with that before it lets its tracees go, until the other has ended. A call in it that waits for many seconds ends
// with EINTR. Throws what `action` throws; and Refused, without running it, if the calling thread cannot be traced, as
// where a debugger traces it.
std::string done_to_the_end(const std::function<std::string()>& action);

// What an action returned, or what it threw.
struct Outcome {
  std::string result;
  std::optional<Error> problem;
};

// Runs `action` so for 0, 1, ... `count` - 1, in one such process, also after one that throws. Throws what
// done_to_the_end() throws by itself.
std::vector<Outcome> each_done_to_the_end(std::size_t count, const std::function<std::string(std::size_t)>& action);

}  // namespace crs::engine
