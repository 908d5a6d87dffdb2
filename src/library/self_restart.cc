#include "library/self_restart.h"

#include <chrono>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "self/restart_channel.h"
#include "wire/connection.h"
#include "wire/messages.h"

namespace crs {
namespace {

constexpr std::chrono::seconds kLongest{10};  // it was sent before the program began

wire::Message words_of(const std::exception* failure) {
  if (failure == nullptr) return wire::to_message(wire::Layers{});
  const auto* const known = dynamic_cast<const Error*>(failure);
  return wire::to_message(wire::Failure{known != nullptr ? *known : Error(ErrorKind::Failed, failure->what())});
}

}  // namespace

void report_self_restart(const std::exception* failure) noexcept {
  const int number = self::take_restart_channel();
  if (number < 0) return;
  try {
    wire::Connection connection(FileDescriptor(number), "the crs that restarted this program");
    // Who has read is taken for one that has a service.
    static_cast<void>(connection.receive(std::chrono::steady_clock::now() + kLongest));
    connection.send(words_of(failure));
  } catch (const std::exception&) {  // nobody waits any more
  }
}

}  // namespace crs
