// A living program in the hands of a checkpoint: stopped, its main thread borrowed, the others to be borrowed one at a
// time.
#pragma once

#include <memory>

#include "engine/tracee/borrowed_thread.h"
#include "engine/tracee/gadgets.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

class BorrowedProcess {
 public:
  // `gadgets` as find_gadgets() found them while the program still ran; they are looked for again if they have moved.
  // `taken` as for ScratchPlaces.
  BorrowedProcess(const StoppedProcess& process, const Gadgets& gadgets, RemoteRange taken = {})
      : process_(process),
        gadgets_(gadgets.present_in(process.memory()) ? gadgets : find_gadgets(process.pid(), process.memory())),
        places_(process, taken),
        main_(process, process.threads().front(), gadgets_, places_.main()) {}

  BorrowedThread& main() noexcept { return main_; }

  // Where the program's memory is not its own meanwhile.
  RemoteRange scratch_range() const noexcept { return places_.range(); }

  // Calls `action(thread, remote)` for every thread, main thread first, each borrowed meanwhile.
  template <typename Action>
  void for_each_thread(Action&& action) {
    for (const StoppedThread& thread : threads())
      with_thread(thread, [&](RemoteCaller& remote) { action(thread, remote); });
  }

  const std::vector<StoppedThread>& threads() const noexcept { return process_.threads(); }
  // Calls `action(remote)` with one of them borrowed.
  template <typename Action>
  void with_thread(const StoppedThread& thread, Action&& action) {
    if (thread.tid == main_.tid()) return action(static_cast<RemoteCaller&>(main_));
    BorrowedThread borrowed(process_, thread, gadgets_, places_.other());
    action(static_cast<RemoteCaller&>(borrowed));
  }

 private:
  const StoppedProcess& process_;
  Gadgets gadgets_;
  ScratchPlaces places_;
  BorrowedThread main_;
};

}  // namespace crs::engine
