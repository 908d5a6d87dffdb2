// An id that was free when a restart looked at it and that another process has got since.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "base/no_process.h"
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

// What clone3(2) says of a process or thread (`what`) that it cannot make, with this id if one was wanted.
[[noreturn]] inline void fail_to_make(std::string_view what, int error_number, pid_t wanted) {
  if (error_number == EEXIST) throw IdTaken(wanted);
  const std::string with_id = wanted != 0 ? fmt::format(" with id {}", wanted) : "";
  Error error = no_process(fmt::format("cannot make a {}{}", what, with_id), error_number);
  if (error_number == EINVAL && wanted != 0)
    error.advise("The ids of this machine may end below that (kernel.pid_max): raise it, or use --ids new");
  if ((error_number == ENOSYS || error_number == EPERM) && wanted != 0)
    error.advise("A seccomp filter or another user namespace may forbid it: 'crs check' shows what is possible here");
  throw error;
}

}  // namespace crs::engine
