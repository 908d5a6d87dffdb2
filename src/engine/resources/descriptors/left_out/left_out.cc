#include "engine/resources/descriptors/left_out/left_out.h"

#include <fcntl.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {

// The table takes the numbers that are left out away before it asks for kinds.
bool LeftOutKind::recognises(const TableCapture& /*table*/, const Seen& /*seen*/) { return false; }

void LeftOutKind::capture(TableCapture& /*table*/, const Seen& /*seen*/, Description& description) {
  description.mutable_left_out();
}

void LeftOutKind::check(TableCheck& /*table*/, const Description& /*description*/) {}  // it refers to nothing

FileDescriptor LeftOutKind::open(TableRestore& /*table*/, const Description& /*description*/) {
  return open_left_out();
}

FileDescriptor open_left_out() {
  FileDescriptor opened(::open("/dev/null", O_PATH));
  if (!opened) fail_errno(errno, "cannot open /dev/null");
  return opened;
}

}  // namespace crs::engine
