// Regular files that no path reaches any more, and memfds: their content is in the snapshot (content_objects.h).
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// The description of the table by which the content of the unlinked file that `seen` leads to can be read: itself, or
// another one that is open on it. Null if there is none.
const Seen* content_source(const TableCapture& table, const Seen& seen);

class ContentFileKind : public Kind {
 public:
  Tag tag() const override { return Description::kContentFile; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

}  // namespace crs::engine
