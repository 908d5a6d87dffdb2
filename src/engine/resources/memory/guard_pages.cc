#include "engine/resources/memory/guard_pages.h"

namespace crs::engine {

PageRuns guards_in(const Pagemap& pagemap, RemoteRange range) {
  PageRuns guards;
  PageScan scan(pagemap, range);
  for (PageRange found; scan.next(found);) {
    if (found.kind == PageKind::Guard) append_run(guards, found.range);
  }
  return guards;
}

}  // namespace crs::engine
