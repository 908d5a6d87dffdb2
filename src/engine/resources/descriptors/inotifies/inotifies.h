// inotify(7).
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class InotifyKind : public Kind {
 public:
  Tag tag() const override { return Description::kInotify; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

}  // namespace crs::engine
