// Directories that a path reaches.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class DirectoryKind : public Kind {
 public:
  Tag tag() const override { return Description::kDirectory; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  Opener opener(const Description& description) const override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

}  // namespace crs::engine
