// Random changes of any protobuf message that keep it a message: values at their limits, fields set, cleared, doubled,
// exchanged.
#pragma once

#include <google/protobuf/message.h>

#include <random>
#include <string>

namespace crs::test {

// One change somewhere in `message` or below. Returns the field that was changed.
std::string mutate(google::protobuf::Message& message, std::mt19937_64& random);

}  // namespace crs::test
