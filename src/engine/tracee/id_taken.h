// An id that was free when a restart looked at it and that another process has got since.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include "crs/error.hpp"

namespace crs::engine {

class IdTaken : public Error {
 public:
  explicit IdTaken(pid_t id)
      : Error(ErrorKind::Failed, fmt::format("process id {} has just been taken by another process", id)) {
    advise("Try again, or use --ids namespace");
  }
};

}  // namespace crs::engine
