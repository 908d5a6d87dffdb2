// The layers that are registered, lowest first, and the telling of one of them. Safe for use by several threads; no
// lock is held while a layer is being told.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "crs/error.hpp"
#include "crs/layer.hpp"
#include "service/after_fork.h"
#include "service/code_place.h"

namespace crs {

// Thrown by a layer that finds that the code it stands for was unloaded: it is told nothing more.
class LayerIsGone : public Error {
 public:
  using Error::Error;
};

class LayerStack {
 public:
  struct Member {
    std::uint64_t id = 0;
    std::string name;
    Layer* layer = nullptr;                  // null: unregistered
    std::optional<std::thread::id> told_by;  // while notify() runs
    CodePlace code;                          // of its virtual functions
    bool internal = false;                   // the service's own: people are not told of it
  };
  using MemberPointer = std::shared_ptr<Member>;

  std::uint64_t add(std::string name, Layer& layer, bool internal = false);
  // Waits while another thread is telling the layer something. False: that took longer than `limit`, and the layer is
  // registered as before. In a process that was forked since, where no such thread is and the lock may be held for
  // ever, it does nothing.
  bool remove(std::uint64_t id, std::chrono::nanoseconds limit = std::chrono::nanoseconds::max());
  // How long whoever can be told so waits for a layer that is being told something.
  void limit_waits(std::chrono::nanoseconds limit) noexcept { wait_limit_ = limit; }
  std::chrono::nanoseconds wait_limit() const noexcept { return wait_limit_; }
  // Lowest first; stays as it is while layers come and go.
  std::vector<MemberPointer> members() const;

  // Tells the layer, unless it is gone: then nothing. Throws an Error, and takes the layer out, if its code is gone, or
  // if it throws LayerIsGone.
  std::optional<Answer> tell(Member& member, State state);

 private:
  void take_out(Member& member);  // with the lock held

  const std::uint64_t generation_ = fork_generation();
  mutable std::mutex mutex_;
  std::condition_variable told_;
  std::uint64_t last_id_ = 0;
  std::vector<MemberPointer> members_;
  std::atomic<std::chrono::nanoseconds> wait_limit_ = std::chrono::nanoseconds::max();
};

}  // namespace crs
