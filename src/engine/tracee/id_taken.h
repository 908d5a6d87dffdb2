// An id that was free when a restart looked at it and that another process has got since.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <cerrno>

#include "crs/error.hpp"

namespace crs::engine {

class IdTaken : public Error {
 public:
  explicit IdTaken(pid_t id)
      : Error(ErrorKind::Failed, fmt::format("process id {} has just been taken by another process", id)), id_(id) {
    advise("Try again, or use --ids namespace");
  }
  pid_t id() const noexcept { return id_; }

 private:
  pid_t id_;
};

// What clone3(2) says of an id that somebody has.
inline void fail_if_taken(int error_number, pid_t wanted) {
  if (error_number == EEXIST) throw IdTaken(wanted);
}

}  // namespace crs::engine
