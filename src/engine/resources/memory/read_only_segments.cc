#include "engine/resources/memory/read_only_segments.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "engine/procfs/maps.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {

std::vector<const image::Area*> attach_segments_read_only(RestoreContext& context, const image::Memory& image) {
  std::vector<const image::Area*> replaced;
  for (const image::Area& area : image.areas()) {
    if (area.kind() != image::Area::SHARED_MEMORY || !has_property(area, image::Area::NEVER_WRITABLE)) continue;
    const image::SharedMemory& memory = image.shared(static_cast<int>(area.backing()));
    if (!memory.has_segment() || memory.huge_page_bytes() != 0) continue;
    in_context(fmt::format("the memory at {:#x}", area.start()), [&] {
      // At first anywhere, as a whole; with an old size of 0, mremap(2) makes a second mapping of the same pages.
      const auto whole = context.remote.call("shmat", SYS_shmat, memory.segment(), 0, SHM_RDONLY);
      const RemoteAddress start{static_cast<std::uint64_t>(whole)};
      context.remote.call("mremap of shared memory", SYS_mremap, start + area.offset(), 0, range_of(area).size(),
                          MREMAP_MAYMOVE | MREMAP_FIXED, area.start());
      context.remote.call("shmdt", SYS_shmdt, start);
    });
    replaced.push_back(&area);
  }
  return replaced;
}

}  // namespace crs::engine
