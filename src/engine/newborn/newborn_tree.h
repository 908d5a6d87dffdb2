// The processes that a restart builds, from the first one on: all of them or none.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/newborn/channel.h"
#include "engine/newborn/family.h"
#include "engine/newborn/ids.h"
#include "engine/newborn/maker.h"
#include "engine/newborn/newborn.h"

namespace crs::engine {

class NewbornTree {
 public:
  // Will make the processes in the planned way; `work` is what they do by themselves, `steps` are its. Both must
  // outlive this.
  NewbornTree(const IdPlan& plan, const FamilyWork& work, Steps& steps);
  // Ends all processes (and the init) unless release() was called.
  ~NewbornTree();
  NewbornTree(const NewbornTree&) = delete;
  NewbornTree& operator=(const NewbornTree&) = delete;

  // Makes the processes and waits until all are prepared, with all signals blocked and the channel at the first private
  // descriptor or above. Throws what any of them threw. Where the caller is to become the first process, this returns
  // in a helper process; it throws in the caller only while that is whole.
  void start();

  // By their index in the image; null: a zombie.
  const std::vector<std::unique_ptr<Newborn>>& processes() const noexcept { return processes_; }
  Newborn& root() { return *processes_.front(); }
  // The caller's child to wait for: the init of the private namespace, or the root itself; 0 if it is no child.
  pid_t wait_pid() const noexcept {
    return !maker_->is_parent() ? 0 : maker_->init() != 0 ? maker_->init() : processes_.front()->pid();
  }
  const std::vector<std::string>& notes() const noexcept { return notes_; }

  // The program is about to run: its init (if there is one) stays with it whatever becomes of this process.
  void release();

 private:
  void keep_step(char message, std::size_t count, std::uint32_t next);
  Channel::Message receive();
  std::size_t member_of(const Channel::Message& message) const;
  void end() noexcept;

  const FamilyWork& work_;
  Steps& steps_;
  std::unique_ptr<Maker> maker_;
  Channel channel_;  // to all of them
  std::vector<pid_t> known_;
  std::vector<std::unique_ptr<Newborn>> processes_;
  bool released_ = false;
  std::vector<std::string> notes_;
};

}  // namespace crs::engine
