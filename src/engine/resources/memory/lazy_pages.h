// Memory that comes while the program runs already.
//
// A process of CRS's holds a userfaultfd(2) of the program and answers whenever a page is touched that has not come
// yet; in between it brings all others. The areas are from the start what they were at the checkpoint: nothing in the
// program can tell. Each extent is verified before any page of it is seen.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/pages/lazy_start.h"
#include "engine/pages/page_loader.h"
#include "engine/resources/context.h"
#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

// Why this user cannot have it here; empty: they can. Accesses by the kernel and children of the program must be
// noticed, too, which takes CAP_SYS_PTRACE.
std::string obstacle_to_lazy_pages();

// A userfaultfd(2) of the newborn's address space, made with `flags`, that this process alone has.
FileDescriptor userfault_of(RestoreContext& context, int flags);

struct LazyPages {
  std::vector<RemoteRange> ranges;   // areas whose pages may come later
  std::vector<std::size_t> extents;  // with pages of these alone
  std::vector<std::size_t> others;   // the other extents
  std::uint64_t bytes = 0;           // of memory in `extents`
};

LazyPages choose_lazy_pages(const image::Memory& image, const PageLoader& loader);

// Starts the process. `page_data`: the descriptors that `loader` reads from. From here on every access to `lazy.ranges`
// is answered, this process's own included; what nobody touches is brought from `start` on. If the program must be
// ended, because a page is damaged or that process was killed, so are `members`, the processes of its tree, and
// standard error says why.
void start_pager(RestoreContext& context, const LazyPages& lazy, const PageLoader& loader, std::vector<int> page_data,
                 std::span<const pid_t> members, const LazyStart& start);

}  // namespace crs::engine
