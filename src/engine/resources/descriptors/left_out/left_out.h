// Descriptors that the user left out (--leave-out fd=N). They come back as O_PATH descriptors of /dev/null: the number
// stays taken, so that no file opened later gets it by accident, and reading, writing, mapping and waiting on it fail
// with EBADF.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class LeftOutKind : public Kind {
 public:
  Tag tag() const override { return Description::kLeftOut; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  // Its flags stay those of O_PATH.
  bool is_callers() const override { return true; }
};

// The descriptor that such a number leads to.
FileDescriptor open_left_out();

}  // namespace crs::engine
