// What shared anonymous memory holds where no process maps it any more: mremap(2) shows it again, from the lowest part
// that is mapped to the end of the memory. And what it holds in huge pages that no process has touched.
#pragma once

#include <span>
#include <vector>

#include "engine/pages/page_area.h"
#include "engine/resources/context.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/shared_objects.h"

namespace crs::engine {

// When all processes have been captured, in the one that has the lowest view of each of `objects`. The parts that hold
// something become areas of the image, at addresses that the process does not use. Returns their pages. More than can
// be held is refused.
std::vector<PageArea> capture_unmapped(CaptureContext& context, std::span<SharedObjects::Object* const> objects,
                                       image::Memory& image);

}  // namespace crs::engine
