// Making all TCP and UDP sockets of an image again: first with their addresses and connections, then, when all
// descriptors are in place, what waits to be read at them.
#pragma once

#include <cstdint>
#include <map>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/inet_sockets/inet_address.h"
#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class InetAssembly {
 public:
  explicit InetAssembly(TableRestore& table);

  // One of them, for the number it belongs at.
  FileDescriptor duplicate(std::uint64_t id) const;
  // Fills the queues, ends what had ended, sets options.
  void finish();

 private:
  struct Made {
    const image::InetSocket* image = nullptr;
    FileDescriptor socket;  // aside
  };

  void forget_killed_program() const;
  FileDescriptor make_socket(const image::InetSocket& socket) const;
  void make_bound(Made& made);
  void make_reset(Made& made);
  void make_ended(Made& made);
  void make_connections(bool with_listeners_of_image);
  void connect_pair(Made& client, Made& server, int listener);
  void let_wait(Made& client);
  void connect_client(Made& client, const InetAddress& to);
  void give_local_address(const Made& client) const;
  template <typename Wanted>
  Made* find_at(const InetPlace& place, Wanted is_wanted);
  Made* listener_of(const image::InetSocket& server);

  void fill_stream(const Made& receiver);
  void fill_datagrams(const Made& receiver);
  void settle(Made& made);

  TableRestore& table_;
  std::map<std::uint64_t, Made> sockets_;
  std::multimap<std::uint16_t, Made*> by_port_;
};

}  // namespace crs::engine
