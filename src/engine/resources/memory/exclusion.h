// Areas whose content is not to be saved (CheckpointOptions::exclude): they read as zero after a restart.
#pragma once

#include <string_view>
#include <vector>

#include "crs/component.hpp"
#include "engine/pages/page_runs.h"
#include "engine/resources/memory/smaps.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

// The pages that lie wholly inside `wished`, ascending, those that touch as one. Throws an Error of kind Usage for
// what is no range of a program's addresses, and one of kind Failed if there are too many for a restart to tell of.
PageRuns whole_pages_of(const std::vector<MemoryRange>& wished);

// Throws if a thread is just using the excluded memory as its stack or for its thread-local storage: after a restart
// it could not run.
void check_not_in_use(const PageRuns& excluded, const std::vector<StoppedThread>& threads);

// Throws unless all of `excluded` is in `areas` (ascending), and in those that `reads_as_zero` says are of memory that
// begins as zeros.
class ExclusionCheck {
 public:
  explicit ExclusionCheck(const PageRuns& excluded) : excluded_(excluded) {}
  // Next area, ascending; `obstacle` says why it cannot be left out, or is empty.
  void area(const MappedArea& area, std::string_view obstacle);
  void finish();

 private:
  const PageRuns& excluded_;
  PageRuns found_;
};

}  // namespace crs::engine
