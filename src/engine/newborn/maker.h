// Who makes the process that a restart builds: the restart command (a child of its own), an init of a private process
// id namespace, or nobody: the calling process itself becomes the program, and a helper goes on in its place.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/newborn/channel.h"
#include "engine/newborn/family.h"
#include "engine/newborn/ids.h"

namespace crs::engine {

class Maker {
 public:
  // What the process does with its end of the channel: it prepares itself, reports, and waits. Never returns.
  using Life = std::function<void(Channel)>;

  virtual ~Maker() = default;

  // Makes the process, which runs `life` with all signals blocked, and returns the other end of its channel. Adds notes
  // for the user.
  virtual Channel make(const Life& life, std::vector<std::string>& notes) = 0;
  // The process, where it is known without its own report; else 0.
  virtual pid_t program() const { return 0; }
  // A process that was made beside it and whose end is its end; else 0.
  virtual pid_t init() const { return 0; }
  // Whether make() has attached to it as its tracer already.
  virtual bool traces() const { return false; }
  // Whether it is a child of this process.
  virtual bool is_parent() const { return true; }
  // The program is about to run, whatever becomes of this process.
  virtual void release() {}
};

// `pid`: the id that the program will see, where the plan is to give it one.
std::unique_ptr<Maker> make_maker(const IdPlan& plan, pid_t pid);

// --- For the makers ---

inline constexpr int kPatienceSeconds = 120;

// fork(2) with an id, namespaces and a signal at its end; the C library's own offers none of them.
pid_t clone_process(std::uint64_t flags, pid_t wanted, int exit_signal);
// The same with CLONE_VM among the flags: the child runs `life(argument)` on a stack of its own, and nothing after it.
pid_t clone_into_same_memory(std::uint64_t flags, pid_t wanted, int exit_signal, void (*life)(void*), void* argument);
void block_all_signals();

// Calls `make` with the clocks of `start` for the processes that it makes. Where they cannot be had, which is told, as
// they are.
template <typename Make>
auto with_clocks(const std::optional<ClockStart>& start, const std::function<void(const std::string&)>& tell,
                 const Make& make) {
  std::optional<ClocksOfChildren> clocks;
  try {
    if (start) clocks.emplace(*start);
  } catch (const Error& error) {
    tell(fmt::format("{}: the program sees CLOCK_MONOTONIC jump", error.what()));
  }
  return make(clocks ? &*clocks : nullptr);
}

std::unique_ptr<Maker> make_maker_of_child(const IdPlan& plan, pid_t wanted);
std::unique_ptr<Maker> make_maker_of_orphan(const IdPlan& plan, pid_t wanted);
std::unique_ptr<Maker> make_maker_below_init(const IdPlan& plan, pid_t wanted);
std::unique_ptr<Maker> make_maker_of_caller(const IdPlan& plan);

}  // namespace crs::engine
