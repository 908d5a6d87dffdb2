// Standard input, output and error that led to a terminal, or to a pipe, FIFO or socket whose other end is outside the
// tree, and every other descriptor of the same object; or to a file that cannot be opened again, as a shell may hand
// over. At the restart they are the restart command's own.
#pragma once

#include <optional>
#include <vector>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class StandardStreamKind : public Kind {
 public:
  Tag tag() const override { return Description::kStandardStream; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  bool parts_standard_streams() const override { return true; }
  bool is_callers() const override { return true; }
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  // Gives the restart command's terminal the program's settings.
  void activate(TableActivation& table, const Description& description, int number) override;

 private:
  // Descriptions that were one at the checkpoint become one again where the restart command's streams are one thing.
  struct Opened {
    std::uint32_t origin;
    struct stat object;
    FileDescriptor descriptor;
  };
  static int choose_stream(const TableRestore& table, const image::StandardStream& stream);

  std::vector<Opened> opened_;
};

// 0, 1 or 2 if `seen` is the object behind that standard stream of the tree's root, or of a process that has it open.
std::optional<int> standard_stream_of(const TableCapture& table, const Seen& seen);

}  // namespace crs::engine
