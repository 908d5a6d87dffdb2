// A program that a taker continues, stops or ends: its first process and all that belong to it (engine/procfs/tree.h).
//
// Each is held by a pidfd from when it is found: its id may be another's by the time that it gets a signal. One that
// has ended meanwhile is no error anywhere.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/file_descriptor.h"

namespace crs::cli {

class ProgramTree {
 public:
  // Throws if there is no process `root`.
  explicit ProgramTree(pid_t root);

  // Finds all that there are now: who loses his parent later on is known by then.
  void look() noexcept;
  // Those that are stopped already, by the program itself say: go_on() leaves them so. To be called before it is
  // frozen.
  void note_stopped() noexcept;
  // Continues all others that there are, the root last: its layers may need them. To be called while they are stopped:
  // who loses his parent later on is known by then.
  void go_on() noexcept;
  // Whether the root has ended; one that is just ending is waited for.
  bool root_has_ended() const;
  // Stops all that there are and all that they make meanwhile. Throws if one cannot be stopped.
  void stop();
  // The same, and ends them with SIGKILL. Whoever could be found has been ended also where it throws.
  void end();

 private:
  struct Member {
    pid_t pid = 0;
    FileDescriptor process;
    bool told_to_stop = false;
    bool was_stopped = false;
  };

  std::vector<pid_t> listed() const;
  bool find_others();
  bool knows(pid_t pid) const;

  std::vector<Member> members_;  // the root first, each behind its parent
};

}  // namespace crs::cli
