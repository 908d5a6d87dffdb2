#include "engine/tracee/asked_ahead.h"

#include <algorithm>

namespace crs::engine {
namespace {

bool is_same(const RemoteCaller::StoringCall& one, const RemoteCaller::StoringCall& other) {
  return one.number == other.number && one.result == other.result && one.arguments == other.arguments;
}

}  // namespace

bool AskedAhead::ask(std::span<const StoringCall> calls, Answer answer) {
  if (calls.empty()) return false;
  const auto results = thread_.call_at_once(calls, answer);
  if (!results) return false;
  for (std::size_t i = 0; i < calls.size(); ++i) answers_.push_back({calls[i], (*results)[i]});
  return true;
}

void AskedAhead::ask(const Questions& questions) {
  std::vector<StoringCall> all = questions.of_copy_too;
  all.insert(all.end(), questions.of_thread.begin(), questions.of_thread.end());
  if (ask(all, Answer::OfThread) || ask(questions.of_copy_too, Answer::OfCopyToo)) return;
  // In a program without the code that stores what calls return.
  std::erase_if(all, [](const StoringCall& call) { return call.result == kReturned; });
  ask(all, Answer::OfThread);
}

template <typename Wanted>
std::optional<RemoteCaller::StoredResult> AskedAhead::take(Wanted is_wanted) {
  const auto found = std::ranges::find_if(answers_, [&](const Answered& answered) { return is_wanted(answered.call); });
  if (found == answers_.end()) return std::nullopt;
  const StoredResult result = found->result;
  answers_.erase(found);
  return result;
}

// Who stores is told by where to: the scratch memory.
std::int64_t AskedAhead::raw_call(long number, const std::array<std::uint64_t, 6>& arguments) {
  bool stores = false;
  const auto result = take([&](const StoringCall& call) {
    StoringCall wanted{.number = number, .arguments = arguments, .result = call.result};
    stores = call.result != kReturned;
    if (stores) {
      if (wanted.arguments.at(call.result) != scratch().value) return false;
      wanted.arguments.at(call.result) = 0;
    }
    return is_same(call, wanted);
  });
  if (!result) return thread_.raw_call(number, arguments);
  if (!stores) return returned(*result);
  memory().write(scratch(), *result);
  return 0;
}

std::vector<RemoteCaller::StoredResult> AskedAhead::call_all(std::string_view name, std::span<const StoringCall> calls,
                                                             Answer answer) {
  std::vector<StoredResult> results;
  for (const StoringCall& call : calls) {
    const auto result = take([&](const StoringCall& asked) { return is_same(asked, call); });
    if (!result) return thread_.call_all(name, calls, answer);
    results.push_back(*result);
  }
  return results;
}

}  // namespace crs::engine
