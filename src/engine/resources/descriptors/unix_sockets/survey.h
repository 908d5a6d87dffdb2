// The unix sockets of a table, looked at together: who is whose other end, and what waits to be read at each.
#pragma once

#include <unordered_map>
#include <vector>

#include "engine/resources/descriptors/seen.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"
#include "engine/resources/descriptors/unix_sockets/unix_diag.h"

namespace crs::engine {

// A message whose descriptors have been found in the table, or added to it.
struct SurveyedMessage {
  QueuedMessage message;
  std::vector<std::size_t> seen;  // places in the table, one for each descriptor that goes with it
};

class UnixSurvey {
 public:
  // What is on its way in a queue and has no number in the table is added to `seen`, without numbers. Sockets whose
  // other end is elsewhere are not looked into. Knows nothing where the kernel does not tell of unix sockets.
  // `keeps`: false for who only looks whether the sockets can be captured. An empty packet can be seen once, so packets
  // are then left alone.
  UnixSurvey(std::vector<Seen>& seen, bool keeps);

  // Whether descriptors are on their way that were left alone so: what looks as if it led out of the program may have
  // its other end there.
  bool has_unseen() const { return has_unseen_; }

  // Nothing for what is no unix socket, or not known.
  const UnixDiag* find(const Seen& seen) const;
  const UnixDiag* find(std::uint32_t inode) const;
  // Whether the socket with this inode is in the table.
  bool is_inside(std::uint32_t inode) const { return place_.contains(inode); }
  // Whether the other end of `seen` is in the table, closed, or was never there.
  bool is_whole(const Seen& seen) const;
  // The inode of the listening socket that has yet to accept this one's connection; 0 for none.
  std::uint32_t waits_at(std::uint32_t inode) const;
  const std::vector<SurveyedMessage>& messages(const Seen& seen) const;

 private:
  void add_place(std::vector<Seen>& seen, std::size_t index);
  void look_into(std::vector<Seen>& seen, std::size_t index);
  std::size_t place_of(std::vector<Seen>& seen, FileDescriptor descriptor);

  bool keeps_;
  bool has_unseen_ = false;
  UnixDiags diags_;
  std::unordered_map<std::uint32_t, std::size_t> place_;  // of unix sockets in the table
  std::unordered_map<std::uint32_t, std::uint32_t> waits_at_;
  std::unordered_map<std::uint32_t, std::vector<SurveyedMessage>> messages_;
};

}  // namespace crs::engine
