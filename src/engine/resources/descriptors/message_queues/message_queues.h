// POSIX message queues (mq_overview(7)), by name, with what is in them (messages.h).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/message_queues/message_queues.pb.h"
#include "engine/tracee/done_to_the_end.h"

namespace crs::engine {

class MessageQueueKind : public Kind {
 public:
  Tag tag() const override { return Description::kMessageQueue; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void finish(TableCapture& table) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void connect(TableRestore& table, const Description& description, int number) override;

 private:
  // What is in a queue, or why that cannot be copied.
  struct Waiting {
    std::string obstacle;
    image::PosixMessageQueue copied;

    // That of copying it.
    void take(const Outcome& outcome);
  };
  struct Copied {
    FileDescriptor both;
    Waiting* place;
  };
  void copy_all(const TableCapture& table);
  static std::vector<int> numbers_of(std::span<const Copied> queues);
  void copy_from(std::span<const Copied> queues);
  void expect_copied(TableCapture& table, const Seen& seen, long messages);
  FileDescriptor open_by_name(TableRestore& table, const image::PosixMessageQueue& queue, int access, bool is_first);

  std::optional<std::map<ino_t, Waiting>> waiting_;
  std::map<std::uint64_t, std::uint32_t> firsts_;  // by inode: the description that was opened first
  std::set<const image::PosixMessageQueue*> new_;  // made here: the mode is that in which they were made
};

// Whether the program had queues in an IPC namespace of its own: it is to have one again, where namespaces are made.
bool has_own_message_queues(const image::Descriptors& image);

// Throws if a queue of this IPC namespace cannot get its messages again: another process has it open, or it is another
// one.
void check_message_queues(const image::Descriptors& image);

}  // namespace crs::engine
