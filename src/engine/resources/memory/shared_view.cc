#include "engine/resources/memory/shared_view.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/error.h"

namespace crs::engine {

SharedView::SharedView(RemoteCaller& remote, RemoteRange seen) : remote_(remote), seen_(seen) {
  // With an old size of 0, mremap(2) makes a second mapping of the same pages; its page table is empty.
  view_.start = RemoteAddress{static_cast<std::uint64_t>(
      remote.call("mremap of shared memory", SYS_mremap, seen.start, 0, seen.size(), MREMAP_MAYMOVE))};
  view_.end = view_.start + seen.size();
}

SharedView::~SharedView() {
  try {
    remote_.call("munmap", SYS_munmap, view_.start, view_.size());
  } catch (const Error&) {  // the program is gone
  }
}

std::unique_ptr<SharedView> shared_view_or_null(RemoteCaller& remote, RemoteRange seen) {
  try {
    return std::make_unique<SharedView>(remote, seen);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return nullptr;
  }
}

}  // namespace crs::engine
