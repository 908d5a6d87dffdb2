// A message as bytes, or an error: a message that is too large must not become an empty one.
#pragma once

#include <google/protobuf/message_lite.h>

#include <string>
#include <string_view>

#include "base/error.h"

namespace crs::engine {

inline std::string serialised(const google::protobuf::MessageLite& message, std::string_view what) {
  std::string bytes;
  if (!message.SerializeToString(&bytes)) fail(ErrorKind::Failed, "{} is more than can be told", what);
  return bytes;
}

}  // namespace crs::engine
