#include "engine/resources/memory/area_properties.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>

namespace crs::engine {
namespace {

using image::Area;

// The codes are those of show_smap_vma_flags() in the kernel's fs/proc/task_mmu.c, described in
// Documentation/filesystems/proc.rst.
constexpr std::array kProperties{
    AreaProperty{Area::GROWS_DOWN, "gd", {}},
    AreaProperty{Area::NO_RESERVE, "nr", {}},
    AreaProperty{Area::LOCKED, "lo", {}},
    AreaProperty{Area::LOCK_ON_FAULT, "lf", {}},
    AreaProperty{Area::SEALED, "sl", {}},
    AreaProperty{Area::HUGE_PAGES, "hg", MADV_HUGEPAGE},
    AreaProperty{Area::NO_HUGE_PAGES, "nh", MADV_NOHUGEPAGE},
    AreaProperty{Area::DONT_FORK, "dc", MADV_DONTFORK},
    AreaProperty{Area::DONT_DUMP, "dd", MADV_DONTDUMP},
    AreaProperty{Area::WIPE_ON_FORK, "wf", MADV_WIPEONFORK},
    AreaProperty{Area::MERGEABLE, "mg", MADV_MERGEABLE},
    AreaProperty{Area::SEQUENTIAL, "sr", MADV_SEQUENTIAL},
    AreaProperty{Area::RANDOM, "rr", MADV_RANDOM},
    AreaProperty{Area::DROPPABLE, "dp", {}},
};

}  // namespace

std::span<const AreaProperty> area_properties() { return kProperties; }

void capture_properties(const MappedArea& area, image::Area& image) {
  for (const AreaProperty& property : kProperties) {
    if (area.has(property.flag)) image.add_properties(property.property);
  }
  if (area.shared && !area.has("mw")) image.add_properties(Area::NEVER_WRITABLE);
  if (!area.shared && !area.permits(PROT_WRITE) && area.has("ac")) image.add_properties(Area::RESERVED);
}

bool has_property(const Area& area, Area::Property property) {
  return std::ranges::find(area.properties(), property) != area.properties().end();
}

}  // namespace crs::engine
