// What must hold for every input of the reader of messages: it is refused with an Error, or read; and what is read as
// a type is written back as what reads the same.
#pragma once

#include <cstdlib>
#include <string_view>

#include "crs/error.hpp"
#include "wire/messages.h"

namespace crs {

// Ends the process if the rule is broken.
template <typename Type>
void check_as(const wire::Message& message) {
  try {
    const wire::Message written = wire::to_message(wire::from<Type>(message));
    if (wire::to_message(wire::from<Type>(wire::decode(wire::encode(written)))) != written) std::abort();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Failed) std::abort();
  }
}

inline void exercise_message_reader(std::string_view input) {
  wire::Message message;
  try {
    message = wire::decode(input);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Failed) std::abort();
    return;
  }
  check_as<wire::Begin>(message);
  check_as<wire::Location>(message);
  check_as<wire::Commit>(message);
  check_as<wire::Committed>(message);
  check_as<wire::Picture>(message);
  check_as<wire::Outcome>(message);
  check_as<wire::Failure>(message);
  check_as<wire::Layers>(message);
  check_as<wire::Restarted>(message);
  check_as<wire::Request>(message);
  check_as<wire::Progressed>(message);
}

}  // namespace crs
