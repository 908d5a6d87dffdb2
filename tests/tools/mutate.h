// Random changes of any protobuf message that keep it a message: values at their limits, fields set, cleared, doubled,
// exchanged.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>

namespace crs::test {

// A message of any schema in src/, read by its schema.
class MutableMessage {
 public:
  // Of `type` ("crs.image.Tree").
  explicit MutableMessage(std::string_view type);

  // Whether `bytes` are one.
  bool parse(std::string_view bytes) { return message_->ParseFromString({bytes.data(), bytes.size()}); }
  std::string bytes() const { return message_->SerializeAsString(); }
  // One change somewhere in it or below. Returns the field that was changed.
  std::string mutate(std::mt19937_64& random);

 private:
  std::unique_ptr<google::protobuf::Message> message_;
};

}  // namespace crs::test
