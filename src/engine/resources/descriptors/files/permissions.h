// Whether this user could open again what a program has open. A program may hold what it may not open: it made the
// file without permissions, changed them since, or was another user then.
#pragma once

#include <string>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// R_OK and W_OK as the program has it open.
int access_of(const Seen& seen);

// R_OK and W_OK of a path, for this process's effective ids; `flags` of faccessat(2). True where something else than
// permissions is in the way. They are asked rather than tried: opening a file for writing breaks leases.
bool may_be_accessed(const std::string& path, int mode, int flags = 0);

// Whether the path's permissions let it be opened for reading and writing as the program has it open.
bool may_be_opened(const Seen& seen);

// The same of a file or directory, but for those of the process's own in /proc, which a restart opens as its own. False
// where the caller has to refuse it. Of what the kernel generates, and of O_NOATIME, it is told what a restart lacks.
bool look_at_permissions(TableCapture& table, const Seen& seen);

}  // namespace crs::engine
