// POSIX message queues (mq_overview(7)), by name, with what is in them (messages.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/message_queues/message_queues.pb.h"

namespace crs::engine {

class MessageQueueKind : public Kind {
 public:
  Tag tag() const override { return Description::kMessageQueue; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void complete(TableRestore& table) override;

 private:
  // What is in a queue, or why that cannot be copied.
  struct Waiting {
    std::string obstacle;
    image::PosixMessageQueue copied;  // until a description has taken it

    void take(const image::PosixMessage& said);
  };
  struct Opened {
    const image::PosixMessageQueue* queue;
    FileDescriptor own;  // lies aside
    bool is_new;         // its mode is that in which it was made
  };
  void copy_all(const TableCapture& table);
  void capture_messages(TableCapture& table, const Seen& seen, image::PosixMessageQueue& queue);
  FileDescriptor open_first(TableRestore& table, const image::PosixMessageQueue& queue, int access);

  std::optional<std::map<ino_t, Waiting>> waiting_;
  std::vector<Opened> opened_;
};

}  // namespace crs::engine
