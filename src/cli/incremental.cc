#include "cli/incremental.h"

#include "base/error.h"

namespace crs::cli {

void make_incremental(CheckpointOptions& options, const Store& store, const Reference& reference) {
  options.incremental = true;
  options.sequence = reference.sequence.value_or(0);
  options.earlier = [&store, job = reference.job](std::uint64_t sequence) {
    try {
      return store.open({job, sequence}).location;
    } catch (const Error&) {  // removed, or damaged: the new snapshot is a full one
      return std::string();
    }
  };
}

}  // namespace crs::cli
