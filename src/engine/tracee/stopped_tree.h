// A process and its descendants, all stopped as a debugger stops them, and given back at the end of the scope.
//
// Whoever runs can make further processes and threads, whoever is stopped cannot: the tree is looked at again until
// nobody new is found. A process that is made meanwhile by one that is stopped at last is found as its child, also if
// that child's parent ends and leaves it to another member. If this process dies, the kernel lets all go on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/procfs/tree.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

class StoppedTree {
 public:
  struct Member : TreeProcess {
    std::unique_ptr<StoppedProcess> process;  // null: a zombie
  };

  // As StoppedProcess::ElapsedInCall, of a thread of a process.
  using ElapsedInCall = std::function<std::optional<std::uint64_t>(pid_t process, pid_t tid)>;
  // Stops `root` and all its descendants. Throws what stands in the way of any of them; all are then let go.
  StoppedTree(pid_t root, const ElapsedInCall& elapsed_in_call);

  // The root first, each behind its parent.
  std::vector<Member>& members() noexcept { return members_; }
  const std::vector<Member>& members() const noexcept { return members_; }
  std::chrono::steady_clock::time_point since() const noexcept { return since_; }

  void release() noexcept;
  // As the functions of StoppedProcess.
  void release_stopped() noexcept;
  void kill() noexcept;

 private:
  std::chrono::steady_clock::time_point since_;
  std::vector<Member> members_;
};

}  // namespace crs::engine
