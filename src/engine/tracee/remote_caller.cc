#include "engine/tracee/remote_caller.h"

#include <cstring>

#include "base/error.h"

namespace crs::engine {

RemoteCaller::StoredResult RemoteCaller::as_stored(std::int64_t value) {
  StoredResult result{};
  std::memcpy(result.data(), &value, sizeof value);
  return result;
}

std::int64_t RemoteCaller::returned(const StoredResult& result) {
  std::int64_t value = 0;
  std::memcpy(&value, result.data(), sizeof value);
  return value;
}

std::int64_t RemoteCaller::checked(std::string_view name, std::int64_t result) const {
  // The kernel's error range (syscalls(2)): -4095 .. -1.
  if (result < 0 && result >= -4095) fail_errno(static_cast<int>(-result), "{} in thread {}", name, tid());
  return result;
}

std::vector<RemoteCaller::StoredResult> RemoteCaller::call_all(std::string_view name,
                                                               std::span<const StoringCall> calls, Answer /*answer*/) {
  std::vector<StoredResult> results;
  for (const StoringCall& call : calls) {
    auto arguments = call.arguments;
    if (call.result == kReturned) {
      results.push_back(as_stored(raw_call(call.number, arguments)));
      continue;
    }
    arguments.at(call.result) = scratch().value;
    checked(name, raw_call(call.number, arguments));
    results.push_back(get<StoredResult>());
  }
  return results;
}

std::optional<std::vector<RemoteCaller::StoredResult>> RemoteCaller::call_at_once(
    std::span<const StoringCall> /*calls*/, Answer /*answer*/) {
  return std::nullopt;
}

std::vector<std::int64_t> RemoteCaller::call_to_the_end(std::span<const StoringCall> calls,
                                                        std::span<const StoringCall> endings) {
  std::vector<std::int64_t> results;
  for (const StoringCall& call : calls) results.push_back(raw_call(call.number, call.arguments));
  for (const StoringCall& call : endings) results.push_back(raw_call(call.number, call.arguments));
  return results;
}

}  // namespace crs::engine
