// Looking at what waits to be read at a socket, further than its first message.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace crs::engine {

// Where the next look begins (SO_PEEK_OFF, socket(7)). It belongs to the program and is given back.
class PeekPosition {
 public:
  PeekPosition(int socket, std::string_view name);
  ~PeekPosition();
  PeekPosition(const PeekPosition&) = delete;
  PeekPosition& operator=(const PeekPosition&) = delete;

  // To the very start. Nothing is touched unless the program has looked ahead itself, or this was moved.
  void rewind();
  // Behind the first `offset` bytes, and behind empty messages there that have been looked at.
  void set(std::size_t offset);

 private:
  int socket_;
  std::string_view name_;
  std::optional<int> original_;
  int current_;
};

}  // namespace crs::engine
