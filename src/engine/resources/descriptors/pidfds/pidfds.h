// pidfd_open(2) of a process of the tree, or of one that is gone.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class PidfdKind : public Kind {
 public:
  Tag tag() const override { return Description::kPidfd; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  Opener opener(const Description& /*description*/) const override { return Opener::Each; }
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

}  // namespace crs::engine
