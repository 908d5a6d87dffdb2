#include "engine/resources/descriptors/sockets/peek_position.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr int kOff = -1;

std::optional<int> peek_offset(int socket) {
  int offset = 0;
  socklen_t size = sizeof offset;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, &size) != 0) return std::nullopt;
  return offset;
}

}  // namespace

PeekPosition::PeekPosition(int socket, std::string_view name)
    : socket_(socket), name_(name), original_(peek_offset(socket)), current_(original_.value_or(kOff)) {}

// A look moves it, so it is set even where it seems to stand right.
PeekPosition::~PeekPosition() {
  const bool untouched = current_ == kOff && original_.value_or(kOff) == kOff;
  if (original_ && !untouched) ::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &*original_, sizeof(int));
}

void PeekPosition::rewind() {
  if (current_ != kOff) set(0);
}

void PeekPosition::set(std::size_t offset) {
  const int wanted = static_cast<int>(offset);
  if (::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &wanted, sizeof wanted) != 0)
    fail_errno(errno, "cannot look at the unread data of {}", name_);
  current_ = wanted;
}

}  // namespace crs::engine
