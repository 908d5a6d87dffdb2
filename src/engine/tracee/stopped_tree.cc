#include "engine/tracee/stopped_tree.h"

#include <map>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::chrono::seconds kTimeLimit{60};

using Stopped = std::map<pid_t, std::unique_ptr<StoppedProcess>>;

// Stops those of `tree` that are not yet. False: all were.
bool stop_others(const std::vector<TreeProcess>& tree, const StoppedTree::ElapsedInCall& elapsed_in_call,
                 Stopped& stopped) {
  bool found_new = false;
  for (const TreeProcess& one : tree) {
    if (stopped.contains(one.pid) || is_zombie(one.pid)) continue;
    found_new = true;
    try {
      stopped[one.pid] =
          std::make_unique<StoppedProcess>(one.pid, [&](pid_t tid) { return elapsed_in_call(one.pid, tid); });
    } catch (const Error& error) {
      stopped.erase(one.pid);
      // Whoever ends meanwhile is a zombie by the next look, or gone.
      const bool gone = error.kind() == ErrorKind::ProgramGone || !is_running(one.pid);
      if (!gone || one.pid == tree.front().pid) throw;
    }
  }
  return found_new;
}

}  // namespace

StoppedTree::StoppedTree(pid_t root, const ElapsedInCall& elapsed_in_call) : since_(std::chrono::steady_clock::now()) {
  Stopped stopped;
  std::vector<TreeProcess> tree;
  do {
    if (std::chrono::steady_clock::now() - since_ > kTimeLimit)
      fail(ErrorKind::Failed, "process {} makes new processes faster than they can be stopped", root);
    tree = tree_of(root);
  } while (stop_others(tree, elapsed_in_call, stopped));
  // Nobody will ever ask how an orphan ended: whoever adopted it takes it away at once. It has no children.
  std::vector<std::size_t> places(tree.size());
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto found = stopped.find(tree[i].pid);
    if (found == stopped.end() && tree[i].adopted) continue;
    places[i] = members_.size();
    Member& member = members_.emplace_back();
    static_cast<TreeProcess&>(member) = tree[i];
    member.parent = places[tree[i].parent];
    if (found != stopped.end()) member.process = std::move(found->second);
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
