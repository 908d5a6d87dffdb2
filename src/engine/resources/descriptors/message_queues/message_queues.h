// POSIX message queues (mq_overview(7)), by name. What is in one can only be seen by taking it: one with messages is
// refused.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class MessageQueueKind : public Kind {
 public:
  Tag tag() const override { return Description::kMessageQueue; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
};

}  // namespace crs::engine
