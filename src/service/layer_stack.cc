#include "service/layer_stack.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "service/limited_wait.h"

namespace crs {
namespace {

// Where its virtual functions are: what an object with any begins with (Itanium C++ ABI, 2.4).
CodePlace code_of(const Layer& layer) {
  const void* table = nullptr;
  std::memcpy(static_cast<void*>(&table), static_cast<const void*>(&layer), sizeof table);
  return CodePlace(table);
}

}  // namespace

std::uint64_t LayerStack::add(std::string name, Layer& layer, bool internal) {
  const std::lock_guard lock(mutex_);
  members_.push_back(
      std::make_shared<Member>(Member{++last_id_, std::move(name), &layer, std::nullopt, code_of(layer), internal}));
  return last_id_;
}

bool LayerStack::remove(std::uint64_t id, std::chrono::nanoseconds limit) {
  if (generation_ != fork_generation()) return true;
  std::unique_lock lock(mutex_);
  const auto found =
      std::find_if(members_.begin(), members_.end(), [&](const auto& member) { return member->id == id; });
  if (found == members_.end()) return true;
  const MemberPointer member = std::move(*found);
  members_.erase(found);
  // A layer may take itself out while it is being told something.
  const auto is_free = [&] { return !member->told_by || *member->told_by == std::this_thread::get_id(); };
  if (wait_limited(told_, lock, limit, is_free)) {
    member->layer = nullptr;
    return true;
  }
  // Where it was: they are in the order of their ids.
  const auto place = std::ranges::upper_bound(members_, id, {}, [](const auto& other) { return other->id; });
  members_.insert(place, member);
  return false;
}

std::vector<LayerStack::MemberPointer> LayerStack::members() const {
  const std::lock_guard lock(mutex_);
  return members_;
}

void LayerStack::take_out(Member& member) {
  member.layer = nullptr;
  std::erase_if(members_, [&](const auto& other) { return other.get() == &member; });
}

std::optional<Answer> LayerStack::tell(Member& member, State state) {
  Layer* layer = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (member.layer == nullptr) return std::nullopt;
    if (!member.code.is_there()) {
      take_out(member);
      throw Error(ErrorKind::Failed,
                  fmt::format("{}, which holds the layer's code, was unloaded", member.code.object()))
          .advise("A library ends its registrations before it is unloaded");
    }
    layer = member.layer;
    member.told_by = std::this_thread::get_id();
  }
  struct End {
    LayerStack& stack;
    Member& member;
    ~End() {
      const std::lock_guard lock(stack.mutex_);
      member.told_by.reset();
      stack.told_.notify_all();
    }
  } const end{*this, member};
  try {
    return layer->notify(state);
  } catch (const LayerIsGone&) {
    const std::lock_guard lock(mutex_);
    take_out(member);
    throw;
  }
}

}  // namespace crs
