#include "service/round.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "base/error.h"
#include "base/thrown.h"

namespace crs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstPause{1};
constexpr std::chrono::milliseconds kLongestPause{50};

// Calls action(); whatever it throws leaves as an Error that names the layer and the state.
template <typename Action>
decltype(auto) for_layer(const std::string& layer, State state, Action&& action) {
  const auto circumstance = [&] { return fmt::format("layer '{}' at {}", layer, name_of(state)); };
  try {
    return action();
  } catch (Error& error) {
    error.add_context(circumstance());
    throw;
  } catch (...) {
    if (is_thread_ending()) throw;
    throw Error(ErrorKind::Failed, words_of_current_exception()).add_context(circumstance());
  }
}

}  // namespace

void FirstFailure::note(const std::string& circumstance) {
  const std::string words = words_of_current_exception();
  if (!first_) {
    try {
      throw;
    } catch (const std::exception&) {
      first_ = std::current_exception();
    } catch (...) {  // whoever is told of the failure has no use for anything else
      first_ = std::make_exception_ptr(Error(ErrorKind::Failed, words));
    }
    return;
  }
  try {
    std::rethrow_exception(first_);
  } catch (Error& error) {
    error.add_context(fmt::format("then {}: {}", circumstance, words));
    first_ = std::current_exception();
  } catch (...) {  // not ours to extend
  }
}

void FirstFailure::rethrow() const {
  if (first_) std::rethrow_exception(first_);
}

Answer Round::tell(LayerStack::Member& member, State state) {
  enter_(state);
  const auto begin = Clock::now();
  const auto note_time = [&] {
    if (member.internal) return;
    const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin);
    const auto nanoseconds = static_cast<std::uint64_t>(spent.count());
    // One that is asked again, however often, is one entry.
    const bool is_again = !times_.empty() && last_told_ == member.id && times_.back().state == state;
    last_told_ = member.id;
    if (is_again) {
      times_.back().nanoseconds += nanoseconds;
    } else {
      times_.push_back({member.name, state, nanoseconds});
    }
  };
  try {
    const auto answer = for_layer(member.name, state, [&] { return stack_.tell(member, state); });
    if (answer) note_time();  // else it is gone
    return answer.value_or(Answer::Done);
  } catch (...) {
    note_time();
    throw;
  }
}

Answer Round::ask(LayerStack::Member& member, Clock::time_point end, const Pause& pause) {
  auto length = kFirstPause;
  for (;;) {
    const Answer answer = tell(member, State::Checkpoint);
    if (answer != Answer::NotYet) return answer;
    if (Clock::now() >= end) {
      throw Error(ErrorKind::Failed,
                  fmt::format("layer '{}' was not ready for a snapshot within the time limit", member.name))
          .advise("Try again later or with a longer time limit");
    }
    pause(std::min(end, Clock::now() + length));
    length = std::min(length * 2, kLongestPause);
  }
}

void Round::prepare(Clock::time_point end, const Tell& tell, const Pause& pause) {
  FirstFailure failure;
  try {
    for (const auto& member : members_ | std::views::reverse) {
      if (tell && !member->internal) tell(member->name);
      prepared_.push_back({member, ask(*member, end, pause) == Answer::Reopen});
    }
  } catch (...) {
    if (is_thread_ending()) {
      FirstFailure unheard;
      unwind(unheard);
      throw;
    }
    failure.note("");
  }
  if (!failure.any()) return;
  // Not in the handler, where no layer could end the thread.
  unwind(failure);
  failure.rethrow();
}

void Round::tell_all(std::span<const Step> steps, FirstFailure& failure) {
  for (; !steps.empty(); steps = steps.subspan(1)) {
    const Step& step = steps.front();
    try {
      static_cast<void>(tell(*step.member, step.state));
    } catch (...) {
      if (is_thread_ending()) {  // by this layer; the others hear how it ended all the same
        tell_all(steps.subspan(1), failure);
        throw;
      }
      failure.note(fmt::format("layer '{}'", step.member->name));
    }
  }
}

void Round::unwind(FirstFailure& failure) {
  std::vector<Step> steps;
  for (const auto& prepared : prepared_ | std::views::reverse) steps.push_back({prepared.member, State::Error});
  tell_all(steps, failure);
}

void Round::conclude(const std::vector<Step>& steps) {
  FirstFailure failure;
  tell_all(steps, failure);
  failure.rethrow();
}

void Round::go_on() {
  std::vector<Step> steps;
  for (const auto& prepared : prepared_) {
    if (prepared.reopens) steps.push_back({prepared.member, State::RestartPre});
  }
  for (const auto& prepared : prepared_ | std::views::reverse) {
    steps.push_back({prepared.member, prepared.reopens ? State::Restart : State::Continue});
  }
  conclude(steps);
}

std::vector<LayerStack::MemberPointer> Round::newcomers() const {
  std::vector<LayerStack::MemberPointer> members = stack_.members();
  // They are in the order of their ids.
  members.erase(members.begin(),
                std::ranges::upper_bound(members, last_id_, {}, [](const auto& one) { return one->id; }));
  return members;
}

void Round::restart() {
  // What they had open is as stale as that of the others. One that was registered after the restart, before this is
  // looked at, has nothing to fear from being told as well.
  const std::vector<LayerStack::MemberPointer> newer = newcomers();
  std::vector<Step> steps;
  for (const auto& member : newer | std::views::reverse) steps.push_back({member, State::RestartPre});
  for (const auto& prepared : prepared_) steps.push_back({prepared.member, State::RestartPre});
  for (const auto& prepared : prepared_ | std::views::reverse) steps.push_back({prepared.member, State::Restart});
  for (const auto& member : newer) steps.push_back({member, State::Restart});
  conclude(steps);
}

void Round::end() {
  std::vector<Step> steps;
  for (const auto& prepared : prepared_ | std::views::reverse) steps.push_back({prepared.member, State::Term});
  FirstFailure failure;
  tell_all(steps, failure);
  // They may bring others.
  for (std::vector<LayerStack::MemberPointer> newer = newcomers(); !newer.empty(); newer = newcomers()) {
    last_id_ = id_of_highest(newer);
    steps.clear();
    for (const auto& member : newer) steps.push_back({member, State::Term});
    tell_all(steps, failure);
  }
  failure.rethrow();
}

}  // namespace crs
