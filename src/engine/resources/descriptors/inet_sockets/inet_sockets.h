// TCP and UDP sockets (tcp(7), udp(7)). Connections with both ends in the snapshot come back with what waits to be read
// at both; what leads elsewhere comes back reset, unless the user wants that refused or kept.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/resources/descriptors/inet_sockets/inet_address.h"
#include "engine/resources/descriptors/inet_sockets/inet_assembly.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/sockets/own_network.h"
#include "engine/resources/descriptors/sockets/sockets.h"

namespace crs::engine {

class InetSocketKind : public Kind {
 public:
  Tag tag() const override { return Description::kInetSocket; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  // Other ends that have not been kept after all.
  void finish(TableCapture& table) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void complete(TableRestore& table) override;

 private:
  // All TCP sockets of the table.
  struct Known {
    const Seen* seen = nullptr;
    int state = 0;
    InetAddress local;
    InetAddress remote;
    std::uint32_t waiting = 0;  // of one that listens: connections not accepted yet
  };
  // Nothing, too, for one of another network namespace.
  std::optional<SocketKind> kind_here(const Seen& seen);
  void survey(const TableCapture& table);
  const Known* find(const Seen& seen) const;
  const Known* other_end(const Known& one) const;
  const Known* listener_with(const Known& client) const;
  bool leads_outside(const Known& one) const;
  static void capture_datagrams(TableCapture& table, const Seen& seen, image::InetSocket& socket);
  void capture_stream(TableCapture& table, const Known& known, image::InetSocket& socket);
  void keep_connection(TableCapture& table, const Known& known, image::InetSocket& socket);
  void watch_connections(TableCapture& table);
  void capture_connection(TableCapture& table, const Known& known, image::InetSocket& socket);

  OwnNetwork network_;
  std::optional<std::vector<Known>> known_;
  std::unordered_map<const Seen*, std::size_t> by_seen_;
  std::map<std::pair<InetPlace, InetPlace>, std::size_t> by_places_;  // local and remote
  bool checked_ = false;
  std::unique_ptr<InetAssembly> assembly_;
};

}  // namespace crs::engine
