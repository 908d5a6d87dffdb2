// Netlink sockets (netlink(7)), as the C library and programs that watch interfaces have them.
#pragma once

#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/sockets/own_network.h"

namespace crs::engine {

class NetlinkSocketKind : public Kind {
 public:
  Tag tag() const override { return Description::kNetlinkSocket; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;

 private:
  OwnNetwork network_;
};

}  // namespace crs::engine
