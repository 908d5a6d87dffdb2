// epoll(7).
//
// What the kernel does not show is whether an edge-triggered watch (EPOLLET) has already been reported: after the
// restart a watched file that is ready is reported once more. A program may see an edge twice, never miss one.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class EpollKind : public Kind {
 public:
  Tag tag() const override { return Description::kEpoll; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void activate(TableActivation& table, const Description& description, int number) override;
  void connect(TableRestore& table, const Description& description, int number) override;
};

}  // namespace crs::engine
