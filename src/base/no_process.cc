#include "base/no_process.h"

#include <cerrno>

namespace crs {

Error no_process(std::string_view what, int error_number) {
  Error error = Error::from_errno(what, error_number);
  if (error_number == EAGAIN) {
    error.advise(
        "A limit of processes and threads is reached: this user's (ulimit -u), the control group's (pids.max) or the "
        "machine's (kernel.threads-max, kernel.pid_max). Raise it, or end other programs");
  }
  return error;
}

}  // namespace crs
