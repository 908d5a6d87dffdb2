// Incremental checkpoints: what a component needs to know of a job's earlier snapshots.
#pragma once

#include "crs/component.hpp"
#include "store/reference.h"
#include "store/store.h"

namespace crs::cli {

// Asks for an incremental checkpoint, whose snapshot will be `reference`. The store must outlive the options.
void make_incremental(CheckpointOptions& options, const Store& store, const Reference& reference);

}  // namespace crs::cli
