#include "engine/tracee/stopped_tree.h"

#include <fmt/format.h>

#include <ctime>
#include <map>
#include <optional>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

constexpr std::chrono::seconds kTimeLimit{60};

using Stopped = std::map<pid_t, std::unique_ptr<StoppedProcess>>;

// What is found by another look at the tree.
struct Found {
  bool new_ones = false;
  std::optional<pid_t> ending;  // not a zombie yet
};

// Stops those of `tree` that are not yet.
Found stop_others(const std::vector<TreeProcess>& tree, const StoppedTree::ElapsedInCall& elapsed_in_call,
                  Stopped& stopped) {
  Found found;
  for (const TreeProcess& one : tree) {
    if (stopped.contains(one.pid) || is_zombie(one.pid)) continue;
    try {
      stopped[one.pid] =
          std::make_unique<StoppedProcess>(one.pid, [&](pid_t tid) { return elapsed_in_call(one.pid, tid); });
      found.new_ones = true;
    } catch (const Error& error) {
      stopped.erase(one.pid);
      // Whoever ends meanwhile is a zombie by the next look, or gone.
      const bool gone = error.kind() == ErrorKind::ProgramGone || !is_running(one.pid);
      if (!gone || one.pid == tree.front().pid) throw;
      found.ending = one.pid;
    }
  }
  return found;
}

[[noreturn]] void fail_to_stop(pid_t root, const Found& found) {
  if (found.new_ones || !found.ending)
    fail(ErrorKind::Failed, "process {} makes new processes faster than they can be stopped", root);
  throw Error(ErrorKind::Failed, fmt::format("process {}, below process {}, is ending and does not come to its end",
                                             innermost_id(*found.ending), innermost_id(root)))
      .advise("A thread of it may be in an uninterruptible wait (a disk, a network file system); try again later");
}

}  // namespace

StoppedTree::StoppedTree(pid_t root, const ElapsedInCall& elapsed_in_call) : since_(std::chrono::steady_clock::now()) {
  Stopped stopped;
  std::vector<TreeProcess> tree;
  constexpr timespec kMoment{0, 200'000};
  Found found;
  do {
    if (std::chrono::steady_clock::now() - since_ > kTimeLimit) fail_to_stop(root, found);
    if (found.ending && !found.new_ones) ::nanosleep(&kMoment, nullptr);
    tree = tree_of(root);
    found = stop_others(tree, elapsed_in_call, stopped);
  } while (found.new_ones || found.ending);
  // Nobody will ever ask how an orphan ended: whoever adopted it takes it away at once. It has no children.
  std::vector<std::size_t> places(tree.size());
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto one = stopped.find(tree[i].pid);
    if (one == stopped.end() && tree[i].adopted) continue;
    places[i] = members_.size();
    Member& member = members_.emplace_back();
    static_cast<TreeProcess&>(member) = tree[i];
    member.parent = places[tree[i].parent];
    if (one != stopped.end()) member.process = std::move(one->second);
  }
}

void StoppedTree::release() noexcept {
  for (Member& member : members_) {
    if (member.process) member.process->release();
  }
}

void StoppedTree::release_stopped() noexcept {
  for (Member& member : members_) {
    if (member.process) member.process->release_stopped();
  }
}

// None of them runs before the last has been killed.
void StoppedTree::kill() noexcept {
  for (Member& member : members_) {
    if (member.process) member.process->kill();
  }
}

}  // namespace crs::engine
