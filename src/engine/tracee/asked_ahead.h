// A thread of which much is asked: all of it is asked at once, and then answered from memory. What was not asked ahead
// is asked when somebody wants it.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// What is going to be asked of a thread; only what changes nothing and cannot fail, and whose answer does not change as
// long as the thread stands still or is not wanted later than it is asked.
struct Questions {
  std::vector<RemoteCaller::StoringCall> of_thread;  // RemoteCaller::Answer
  std::vector<RemoteCaller::StoringCall> of_copy_too;
};

class AskedAhead final : public RemoteCaller {
 public:
  // `thread` must outlive this.
  explicit AskedAhead(RemoteCaller& thread) : thread_(thread) {}

  // Asks what can be asked at once.
  void ask(const Questions& questions);

  pid_t tid() const override { return thread_.tid(); }
  // Each answer is given once.
  std::int64_t raw_call(long number, const std::array<std::uint64_t, 6>& arguments) override;
  RemoteAddress scratch() const override { return thread_.scratch(); }
  const RemoteMemory& memory() const override { return thread_.memory(); }
  std::vector<StoredResult> call_all(std::string_view name, std::span<const StoringCall> calls, Answer answer) override;
  std::optional<std::vector<StoredResult>> call_at_once(std::span<const StoringCall> calls, Answer answer) override {
    return thread_.call_at_once(calls, answer);
  }
  std::vector<std::int64_t> call_to_the_end(std::span<const StoringCall> calls,
                                            std::span<const StoringCall> endings) override {
    return thread_.call_to_the_end(calls, endings);
  }

 private:
  struct Answered {
    StoringCall call;
    StoredResult result;
  };
  bool ask(std::span<const StoringCall> calls, Answer answer);
  // Of the call that `is_wanted`, or nothing.
  template <typename Wanted>
  std::optional<StoredResult> take(Wanted is_wanted);

  RemoteCaller& thread_;
  std::vector<Answered> answers_;
};

}  // namespace crs::engine
