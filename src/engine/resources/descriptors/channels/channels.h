// The connection between a program and whoever takes its snapshot, where the program asked for that itself
// (CheckpointOptions::channel): a restarted program finds at the same number a connection to whoever restarts it
// (RestartOptions::channel). A thread that was reading from the one then reads from the other.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class ChannelKind : public Kind {
 public:
  Tag tag() const override { return Description::kTakerChannel; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

// Throws where the options name a number at which the program has no unix stream socket.
void check_channel(const TableCapture& table);

}  // namespace crs::engine
