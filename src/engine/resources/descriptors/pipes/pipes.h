// Pipes and FIFOs (pipe(7), fifo(7)) no end of which leads outside the process: both ends are in it, or one is and the
// other is closed everywhere. Ends whose other end is elsewhere are standard streams or refused.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class PipeKind : public Kind {
 public:
  Tag tag() const override { return Description::kPipeEnd; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  FileDescriptor open(TableRestore& table, const Description& description) override;
  // Fills the pipes and closes the ends that the program does not have.
  void complete(TableRestore& table) override;

 private:
  // Who holds what of one pipe inside the process.
  struct Ends {
    const Seen* reader = nullptr;
    const Seen* writer = nullptr;
    bool packets = false;  // some writer is in packet mode
  };
  // A pipe made again, with ends that lie aside until it is complete.
  struct Made {
    FileDescriptor read_end;
    FileDescriptor write_end;
    bool read_end_given = false;  // to a description of the image
    bool write_end_given = false;
  };
  const Ends& ends_of(const TableCapture& table, const Seen& seen);
  Made& make(TableRestore& table, std::uint32_t index);

  std::map<std::pair<dev_t, ino_t>, Ends> ends_;
  bool ends_known_ = false;
  std::map<std::pair<dev_t, ino_t>, std::uint32_t> captured_;
  std::map<std::uint32_t, Made> made_;
  bool checked_ = false;
};

}  // namespace crs::engine
