// One round of telling the layers, from State::Checkpoint to the state that ends it. Used by one thread. If that is
// ended meanwhile (pthread_cancel(3) in a pause, pthread_exit(3) in a layer), it is when the layers have been told all
// the same. A second layer that ends it then ends the program, as pthread_exit(3) in a clean-up handler does.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crs/service.hpp"
#include "service/layer_stack.h"

namespace crs {

// The first of several failures; the later ones are told in its context.
class FirstFailure {
 public:
  // To be called inside a handler, unless is_thread_ending().
  void note(const std::string& circumstance);
  void rethrow() const;
  bool any() const noexcept { return first_ != nullptr; }

 private:
  std::exception_ptr first_;
};

class Round {
 public:
  using Tell = std::function<void(const std::string& layer)>;
  // Waits until a layer that answered NotYet is to be asked again, at most until the time given.
  using Pause = std::function<void(std::chrono::steady_clock::time_point until)>;

  // `enter` is called with the state that is about to be told, each time.
  Round(LayerStack& stack, std::function<void(State)> enter)
      : stack_(stack), enter_(std::move(enter)), members_(stack.members()), last_id_(id_of_highest(members_)) {}

  // State::Checkpoint, highest first. If a layer fails, or still answers NotYet at `end`, those prepared before it are
  // told State::Error and the failure is thrown.
  void prepare(std::chrono::steady_clock::time_point end, const Tell& tell, const Pause& pause);

  // After a failed snapshot: State::Error for all, lowest first. Failures of layers are noted in `failure`.
  void unwind(FirstFailure& failure);
  // After a snapshot. Throw the first failure of a layer, when all have been told.
  void go_on();
  void restart();
  void end();

  const std::vector<LayerTime>& times() const noexcept { return times_; }

 private:
  struct Prepared {
    LayerStack::MemberPointer member;
    bool reopens = false;
  };
  struct Step {
    LayerStack::MemberPointer member;
    State state;
  };

  Answer ask(LayerStack::Member& member, std::chrono::steady_clock::time_point end, const Pause& pause);
  Answer tell(LayerStack::Member& member, State state);
  // All of them, whatever a layer does.
  void tell_all(std::span<const Step> steps, FirstFailure& failure);
  void conclude(const std::vector<Step>& steps);
  static std::uint64_t id_of_highest(const std::vector<LayerStack::MemberPointer>& members) noexcept {
    return members.empty() ? 0 : members.back()->id;
  }
  // Registered since the round began, lowest first: above all that were asked to prepare.
  std::vector<LayerStack::MemberPointer> newcomers() const;

  LayerStack& stack_;
  std::function<void(State)> enter_;
  std::vector<LayerStack::MemberPointer> members_;  // lowest first
  std::uint64_t last_id_;                           // of them, and of newcomers that were told of the end
  std::uint64_t last_told_ = 0;                     // the id of one whose time was noted
  std::vector<Prepared> prepared_;                  // highest first
  std::vector<LayerTime> times_;
};

}  // namespace crs
