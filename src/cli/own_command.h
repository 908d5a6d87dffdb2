// crs itself as a child process.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/file_descriptor.h"

namespace crs::cli {

enum class OwnStreams {
  Ours,      // standard input, output and error, and the terminal, are those of this process
  ErrorOnly  // standard error alone is; no signal of the terminal reaches it
};

// Runs this executable with `arguments` (the verb first), with no signal blocked.
class OwnCommand {
 public:
  OwnCommand(const std::vector<std::string>& arguments, OwnStreams streams);
  OwnCommand(OwnCommand&&) noexcept = default;
  OwnCommand& operator=(OwnCommand&&) noexcept = default;

  pid_t pid() const noexcept { return pid_; }

  // Whether it has ended; with `wait`, only returns when it has. Not to be asked again then.
  bool ended(bool wait);
  // Then: its exit status, or 128+N after signal N, and what it wrote to standard output (ErrorOnly).
  int status() const noexcept { return status_; }
  std::string output() const;

 private:
  FileDescriptor output_;  // a memfd: it may write as much as it likes before anyone reads
  pid_t pid_ = 0;
  int status_ = 0;
};

}  // namespace crs::cli
