// Which pages of shared anonymous memory exist. The page tables do not tell: pages that this process has not touched,
// and swapped ones, are missing there.
#pragma once

#include "engine/pages/page_runs.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// The pages of `area` (exactly a line of maps, of shared anonymous memory) that may be other than zero. `remote` is a
// stopped thread of process `pid`; `swapped`: some of the memory is swapped out. Asks /proc/PID/map_files where that is
// permitted, else mincore(2).
PageRuns existing_shared_pages(pid_t pid, RemoteCaller& remote, RemoteRange area, std::uint64_t offset, bool swapped);

}  // namespace crs::engine
