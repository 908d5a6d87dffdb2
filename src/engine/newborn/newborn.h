// The process that a restart builds: a copy of the restart command, or (IdPlan::Way::Caller) that command's process
// itself, it first prepares itself by running ordinary code, then waits to be taken over from outside.
#pragma once

#include <functional>
#include <memory>

#include "engine/newborn/channel.h"
#include "engine/newborn/ids.h"
#include "engine/newborn/maker.h"
#include "engine/tracee/newborn_thread.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

class Newborn {
 public:
  using Prepare = std::function<std::vector<std::string>()>;
  // Will make the process with id `pid` (as the program will see it) in the planned way. `prepare` is what it runs by
  // itself; it returns notes for the user.
  Newborn(const IdPlan& plan, pid_t pid, int first_private_descriptor, Prepare prepare);
  // Ends the process (and its init) unless release() was called.
  ~Newborn();
  Newborn(const Newborn&) = delete;
  Newborn& operator=(const Newborn&) = delete;

  // Makes the process and waits until `prepare` is done in it, with all signals blocked and its channel at
  // `first_private_descriptor` or above. Throws what `prepare` threw. Where the caller is to become that process, this
  // returns in a helper process; it throws in the caller only while that is whole.
  void start();

  // As the caller sees it.
  pid_t pid() const noexcept { return pid_; }
  // The caller's child to wait for: the init of the private namespace, or the program itself; 0 if it is no child.
  pid_t wait_pid() const noexcept { return maker_->traces() ? 0 : maker_->init() != 0 ? maker_->init() : pid_; }
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

  std::unique_ptr<Maker> maker_;
  int first_private_descriptor_;
  Prepare prepare_;
  Channel channel_;  // to the newborn
  pid_t pid_ = 0;
  bool released_ = false;
  std::vector<std::string> notes_;
  std::unique_ptr<RemoteMemory> memory_;
  std::unique_ptr<NewbornThread> main_;
};

}  // namespace crs::engine
