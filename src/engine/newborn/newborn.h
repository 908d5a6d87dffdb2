// The process that a restart builds: made as a copy of the restart command, it first prepares itself by running
// ordinary code, then waits to be taken over from outside.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "engine/newborn/channel.h"
#include "engine/newborn/ids.h"
#include "engine/tracee/newborn_thread.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

class Newborn {
 public:
  using Prepare = std::function<std::vector<std::string>()>;
  // Will make the process with id `pid` (as the program will see it) in the planned way. `prepare` is what it runs by
  // itself; it returns notes for the user.
  Newborn(IdPlan plan, pid_t pid, int first_private_descriptor, Prepare prepare);
  // Ends the process (and its init) unless release() was called.
  ~Newborn();
  Newborn(const Newborn&) = delete;
  Newborn& operator=(const Newborn&) = delete;

  // Makes the process and waits until `prepare` is done in it, with all signals blocked and its channel at
  // `first_private_descriptor` or above. Throws what `prepare` threw.
  void start();

  // As the caller sees it.
  pid_t pid() const noexcept { return pid_; }
  // The caller's child to wait for: the init of the private namespace, or the program itself.
  pid_t wait_pid() const noexcept { return init_ != 0 ? init_ : pid_; }
  const std::vector<std::string>& notes() const noexcept { return notes_; }

  // Attaches as its tracer; from now on it dies with this process. Its main thread is then stopped, with all signals
  // blocked.
  void take_over();
  NewbornThread& main_thread() { return *main_; }
  const RemoteMemory& memory() const { return *memory_; }

  // Gives the main thread a home outside all of `occupied`: a page of code with a `syscall` instruction and pages of
  // scratch memory. Returns the range, which must not be mapped over.
  RemoteRange settle(const std::vector<RemoteRange>& occupied);

  // The program is about to run: its init (if there is one) stays with it whatever becomes of this process.
  void release();

 private:
  void end() noexcept;
  void start_in_place();
  void start_below_init();

  IdPlan plan_;
  pid_t wanted_;
  int first_private_descriptor_;
  Prepare prepare_;
  Channel channel_;  // to the newborn
  std::optional<Channel> to_init_;
  pid_t init_ = 0;
  pid_t pid_ = 0;
  bool released_ = false;
  std::vector<std::string> notes_;
  std::unique_ptr<RemoteMemory> memory_;
  std::unique_ptr<NewbornThread> main_;
};

}  // namespace crs::engine
