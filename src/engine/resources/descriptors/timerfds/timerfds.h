// timerfd_create(2). The timers run from activate() on: the time a restart takes is not taken from what remained.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class TimerfdKind : public Kind {
 public:
  Tag tag() const override { return Description::kTimerfd; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void activate(TableActivation& table, const Description& description, int number) override;
};

}  // namespace crs::engine
