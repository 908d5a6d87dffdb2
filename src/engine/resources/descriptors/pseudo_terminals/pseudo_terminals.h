// Pseudo-terminals (pty(7)) no end of which leads outside the snapshot: the master of a terminal multiplexer or of
// expect, and the terminal of the programs that run in it.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/pseudo_terminals/pseudo_terminals.pb.h"
#include "engine/resources/descriptors/pseudo_terminals/queues.h"
#include "engine/tracee/done_to_the_end.h"

namespace crs::engine {

class PseudoTerminalKind : public Kind {
 public:
  Tag tag() const override { return Description::kPseudoTerminalEnd; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  void complete(TableRestore& table) override;

 private:
  struct Ends {
    const Seen* master = nullptr;
    const Seen* terminal = nullptr;  // one of them that has not been hung up
    bool hung_up = false;            // one of them has
    bool closed = false;             // it has been open, and nobody has it open any more
    bool locked = false;             // nobody can have opened it since
    bool is_inside() const { return master != nullptr && (terminal != nullptr || hung_up || closed || locked); }
  };
  // What waits to be read at the ends of one.
  struct Unread {
    bool output = false;
    bool input = false;
    std::string obstacle;    // why it cannot be copied
    bool disturbed = false;  // that was tried
    image::TerminalQueues queues;

    // That of copying them.
    void take(const Outcome& outcome);
  };
  void survey(const TableCapture& table);
  void look_for_unread(const TableCapture& table);
  void spare_outsiders(const TableCapture& table);
  void copy_unread(const TableCapture& table);
  static void copy_from(std::span<const TerminalEnds> ends, std::span<Unread* const> places);
  void capture_unread(TableCapture& table, image::PseudoTerminal& terminal);
  FileDescriptor& make(TableRestore& table, std::uint32_t index);

  std::optional<std::map<unsigned, Ends>> ends_;      // by number
  std::optional<std::map<unsigned, Unread>> unread_;  // by number; those that have, or may have, something
  std::map<unsigned, std::uint32_t> captured_;        // by number: index in the image
  bool checked_ = false;
  std::map<std::uint32_t, FileDescriptor> masters_;  // by index in the image; they lie aside
};

// In the process that leads the session of one of them, before there are others in that session: they inherit it
// (credentials(7)). What cannot be had is noted.
void take_controlling_terminal(const TableRestore& table);
// In that process, when all groups of the session are there.
void set_foreground_group(const TableRestore& table);

}  // namespace crs::engine
