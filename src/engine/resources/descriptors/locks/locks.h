// Locks on open files: flock(2), and those of fcntl(2), of the process or of an open file description.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// Records the locks held through `seen`. Refuses what cannot be taken again (leases).
void capture_locks(TableCapture& table, const Seen& seen);

void check_locks(const image::Descriptors& image);

// Takes them, from outside. Throws if somebody else holds one of them. Closing any descriptor of the file afterwards
// would give POSIX locks up.
void take_locks(TableActivation& table);

}  // namespace crs::engine
