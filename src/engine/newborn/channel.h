// The private channel between the restart command and the processes that it makes: whole messages, each with the
// sender's process id as the receiver sees it.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/file_descriptor.h"

namespace crs::engine {

class Channel {
 public:
  explicit Channel(FileDescriptor end) : end_(std::move(end)) {}

  // Two connected ends (unix(7), SOCK_SEQPACKET).
  static std::pair<Channel, Channel> make();

  struct Message {
    char kind = 0;
    pid_t sender = 0;
    std::string text;
  };

  void send(char kind, std::string_view text = {}) const;
  // Waits up to `seconds`. Throws an Error if the other end closed or the time passed; if the message is an error
  // report (kind 'E'), throws that error.
  Message receive(int seconds) const;
  // Sends `error` so that receive() throws it at the other end. Never throws.
  void send_error(const std::exception& error) const noexcept;

  int descriptor() const noexcept { return end_.get(); }
  // Moves this end to the lowest free number at or above `lowest`.
  void move_above(int lowest);
  void close() { end_.reset(); }

 private:
  FileDescriptor end_;
};

}  // namespace crs::engine
