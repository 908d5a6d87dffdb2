// When the processes that bring memory late begin to bring what nobody touches: not before the program runs, whose
// restart needs the processors until then.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/file_descriptor.h"

namespace crs::engine {

// They wait for the other end of a pipe to be closed, so that they begin as well if this process ends.
class LazyStart {
 public:
  LazyStart() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno(errno, "cannot make a pipe");
    begun_.reset(ends[0]);
    held_back_.reset(ends[1]);
  }

  void begin() noexcept { held_back_.reset(); }
  // poll(2) says POLLHUP of it when they are to begin, once all other processes have closed what they inherited.
  int descriptor() const noexcept { return begun_.get(); }

 private:
  FileDescriptor begun_;
  FileDescriptor held_back_;
};

}  // namespace crs::engine
