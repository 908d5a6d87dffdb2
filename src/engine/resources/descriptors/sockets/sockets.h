// Sockets that come back dead. The layers of a program that own them (CheckpointOptions::expendable) close and reopen
// them after a restart; until then the number is taken by a socket of the same kind, so that nothing else gets the
// number by accident, and a thread that waited on it is told that its connection is gone.
#pragma once

#include <optional>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// What the arguments of socket(2) were.
struct SocketKind {
  int family = 0;
  int type = 0;
  int protocol = 0;
};
// Nothing if `descriptor` is not a socket.
std::optional<SocketKind> socket_kind_of(int descriptor);

class DeadSocketKind : public Kind {
 public:
  Tag tag() const override { return Description::kDeadSocket; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

}  // namespace crs::engine
