// A snapshot of this component written anew: complete, in files that it shares with no other.
#pragma once

#include "crs/component.hpp"
#include "store/snapshot_reader.h"

namespace crs {

// Verifies everything that it takes over. Throws, of kind Damaged where the snapshot is.
void write_anew(const SnapshotReader& snapshot, SnapshotSink& sink, const CompactOptions& options);

}  // namespace crs
