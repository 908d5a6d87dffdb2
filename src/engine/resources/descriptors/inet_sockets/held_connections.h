// The checkpoint of TCP connections that lead out of the snapshot and are to be kept (--tcp keep).
//
// A connection is read in repair mode, in which the program could not use it: for a moment only; and from a checkpoint
// that ends the program on it must neither acknowledge anything that is not in the snapshot nor be closed in the other
// side's eyes. So a process of CRS's own has the connections open, too: if the checkpointer dies, it gives them back to
// the program as they were; if the program has been ended, it goes on holding them, deaf and silent, so that the kernel
// does not answer the other side with a reset before the restart takes them over (kept_connections.h).
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <span>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/inet_sockets/inet_sockets.pb.h"

namespace crs::engine {

class HeldConnections {
 public:
  // `to_the_end`: the program will be ended.
  explicit HeldConnections(bool to_the_end) : to_the_end_(to_the_end) {}
  // What is still held is given back.
  ~HeldConnections() { give_back(); }
  HeldConnections(const HeldConnections&) = delete;
  HeldConnections& operator=(const HeldConnections&) = delete;

  // All of them, before the first is read. Throws.
  void watch(std::span<const int> sockets);
  // Reads one of them, which is from then on held if the program will be ended. Throws.
  void read(int socket, image::InetSocket& image);
  // The program is about to be ended: the connections stay as they are.
  void keep();

 private:
  struct Held {
    FileDescriptor socket;  // a duplicate of the program's
    std::uint64_t inode = 0;
    int reuses_address = 0;
    std::vector<sock_filter> filter;
  };

  [[noreturn]] void hold(int channel) const;
  static void leave_repair(const Held& held) noexcept;
  static void give_back(const Held& held) noexcept;
  void give_back() noexcept;

  bool to_the_end_;
  std::vector<Held> all_;
  FileDescriptor holder_channel_;
  pid_t holder_ = 0;
};

}  // namespace crs::engine
