// Guard pages (MADV_GUARD_INSTALL, Linux 6.13): who touches one gets SIGSEGV, and so does who reads it from outside. In
// a shared mapping they only cover what is there: other mappings of the same memory still show it.
#pragma once

#include "engine/pages/page_runs.h"
#include "engine/pages/page_scan.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {

PageRuns guards_in(const Pagemap& pagemap, RemoteRange range);

}  // namespace crs::engine
