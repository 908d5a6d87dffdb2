// One end of a unix stream socket that carries messages: each a length (4 bytes, little-endian) and as many bytes of
// CBOR.
//
// Used by one thread at a time. What arrives is checked; a peer that closes its end is an ordinary result.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/file_descriptor.h"
#include "wire/frame.h"

namespace crs::wire {

struct Received {
  enum class Kind { Arrived, End, TimedOut };
  Kind kind = Kind::End;
  Message message = {};  // Kind::Arrived
};

// Who is at the other end, as unix(7), SO_PEERCRED tells it: of the end that accepted, who connected; of the end that
// connected, who listened; of a pair, who made it.
struct Peer {
  pid_t pid = 0;  // 0: not visible from this pid namespace
  uid_t user = 0;
};

class Connection {
 public:
  using Time = std::chrono::steady_clock::time_point;

  Connection() = default;
  // `peer` says in errors who is at the other end ("the program").
  Connection(FileDescriptor socket, std::string peer) : socket_(std::move(socket)), peer_(std::move(peer)) {}

  explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
  int number() const noexcept { return socket_.get(); }
  const std::string& peer_name() const noexcept { return peer_; }
  void close() noexcept { socket_.reset(); }
  // Both ends read end of file from here on, though the number stays open.
  void shut() noexcept;
  // Whether the peer has closed its end, or either has been shut, whatever may still lie there to be read.
  bool has_ended() const noexcept;
  // After Kind::End: the peer closed its end without having read all that was sent to it (unix(7), ECONNRESET).
  bool left_unread() const noexcept { return left_unread_; }
  // The number is the caller's from now on.
  int release() noexcept { return socket_.release(); }
  Peer peer() const;

  // Throws an Error if the peer has gone, or takes nothing for ten seconds. No SIGPIPE.
  void send(const Message& message);
  // The same in two parts, for a peer that reads only later: the first puts what there is room for and waits for none;
  // the second puts the rest, and returns false if the time passes before the peer has taken it. One that has gone is
  // no error here, but the end that receive() finds.
  void start_sending(const Message& message);
  bool finish_sending(Time until);

  // Waits for the next message; without `until` as long as it takes. What has come of a message that is not complete in
  // time is kept for the next call. Throws for what is no message, and for an end in the middle of one.
  Received receive(std::optional<Time> until = std::nullopt);

  // Two ends of a new socket, both closed on exec.
  static std::pair<FileDescriptor, FileDescriptor> make_pair();

 private:
  enum class Fill { Done, End, TimedOut };
  Fill fill(std::size_t wanted, std::optional<Time> until);
  // Returns what there is no room for now. Throws an Error of kind ProgramGone if the peer has gone.
  std::string_view put(std::string_view bytes);

  FileDescriptor socket_;
  std::string peer_;
  bool left_unread_ = false;
  std::string partial_;  // of the next message, its length included
  std::string unsent_;   // after start_sending()
};

}  // namespace crs::wire
