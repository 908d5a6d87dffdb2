#include "engine/resources/memory/guard_pages.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/error.h"

namespace crs::engine {

PageRuns guards_in(const Pagemap& pagemap, RemoteRange range) {
  PageRuns guards;
  PageScan scan(pagemap, range);
  for (PageRange found; scan.next(found);) {
    if (found.kind == PageKind::Guard) append_run(guards, found.range);
  }
  return guards;
}

UnguardedView::UnguardedView(RemoteCaller& remote, RemoteRange area) : remote_(remote), area_(area) {
  // With an old size of 0, mremap(2) makes a second mapping of the same pages; its page table is empty.
  view_.start = RemoteAddress{static_cast<std::uint64_t>(
      remote.call("mremap of shared memory with guard pages", SYS_mremap, area.start, 0, area.size(), MREMAP_MAYMOVE))};
  view_.end = view_.start + area.size();
}

UnguardedView::~UnguardedView() {
  try {
    remote_.call("munmap", SYS_munmap, view_.start, view_.size());
  } catch (const Error&) {  // the program is gone
  }
}

}  // namespace crs::engine
