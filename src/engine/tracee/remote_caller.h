// A stopped thread of another process that can be made to execute system calls.
//
// Two implementations: BorrowedThread (a thread of a living program; survives the death of the tracer) and
// NewbornThread (a thread of a process that a restart is building; dies with the tracer). Only the thread that traces
// may use it (ptrace(2)).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/tracee/remote_address.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

// An argument of a remote call: integers, and addresses in the other process.
struct RemoteArgument {
  std::uint64_t value = 0;
  template <typename Integer>
    requires(std::is_integral_v<Integer> || std::is_enum_v<Integer>)
  constexpr RemoteArgument(Integer number) : value(static_cast<std::uint64_t>(number)) {}
  constexpr RemoteArgument(RemoteAddress address) : value(address.value) {}
};

class RemoteCaller {
 public:
  virtual ~RemoteCaller() = default;

  // As this process sees it.
  virtual pid_t tid() const = 0;
  // Executes system call `number` and returns what the kernel returned: a result, or -errno. Throws only if the thread
  // dies (ProgramGone) or cannot be driven.
  virtual std::int64_t raw_call(long number, const std::array<std::uint64_t, 6>& arguments) = 0;
  // At least kScratchSize bytes for arguments and results, readable and writable, aligned to 64. Their content is
  // undefined between calls of different rooms and never becomes part of a snapshot.
  virtual RemoteAddress scratch() const = 0;
  virtual const RemoteMemory& memory() const = 0;

  static constexpr std::size_t kScratchSize = 1024;

  // raw_call, and an Error "NAME failed in thread TID: <errno>" if the result is an error.
  template <typename... Arguments>
  std::int64_t call(std::string_view name, long number, Arguments... arguments) {
    const std::array<RemoteArgument, sizeof...(Arguments) + 1> list{RemoteArgument(arguments)..., RemoteArgument(0)};
    std::array<std::uint64_t, 6> values{};
    for (std::size_t i = 0; i < sizeof...(Arguments); ++i) values[i] = list[i].value;
    return checked(name, raw_call(number, values));
  }

  // A call that stores its result, of at most kStoredBytes, where argument number `result` (from 0) points to; or, with
  // kReturned, whose result is what it returns, an error or not: the first eight bytes then.
  static constexpr std::size_t kStoredBytes = 32;
  static constexpr std::size_t kReturned = 6;
  struct StoringCall {
    long number = 0;
    std::array<std::uint64_t, 6> arguments{};
    std::size_t result = 0;
  };
  using StoredResult = std::array<std::byte, kStoredBytes>;
  // What such a call returned.
  static std::int64_t returned(const StoredResult& result);
  // Whose answer is wanted: that of the thread alone, or what a child that copies its process knows as well.
  enum class Answer { OfThread, OfCopyToo };
  // Makes the calls one after the other, faster than one by one where that can be. Returns what each has stored. The
  // first that fails is an Error as that of call(). Uses the scratch memory.
  virtual std::vector<StoredResult> call_all(std::string_view name, std::span<const StoringCall> calls, Answer answer);
  // The same, but only if it is faster than one by one: nothing if not, or if one that stores its result has failed.
  virtual std::optional<std::vector<StoredResult>> call_at_once(std::span<const StoringCall> calls, Answer answer);

  // What is made of one call after the other, and what they must not stay without: at most two calls that end it. Once
  // the first call has begun, a program's thread makes those on its own way home if this process dies. Returns what
  // each has returned, an error or not. Uses the scratch memory, in which no argument may lie.
  virtual std::vector<std::int64_t> call_to_the_end(std::span<const StoringCall> calls,
                                                    std::span<const StoringCall> endings);

  // Puts `value` into the scratch area at `offset` and returns its address there.
  template <typename T>
  RemoteAddress put(const T& value, std::size_t offset = 0) {
    memory().write_value(scratch() + offset, value);
    return scratch() + offset;
  }
  template <typename T>
  T get(std::size_t offset = 0) const {
    return memory().template read_value<T>(scratch() + offset);
  }

 protected:
  static StoredResult as_stored(std::int64_t value);

 private:
  std::int64_t checked(std::string_view name, std::int64_t result) const;
};

}  // namespace crs::engine
