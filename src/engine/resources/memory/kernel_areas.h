// Bringing vDSO and vvar of a newborn to where the program remembers them.
#pragma once

#include <vector>

#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/smaps.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// If the newborn's vDSO is the one of the image, moves it (and vvar) to its place there. Otherwise moves it out of the
// way and maps the image's vDSO as ordinary memory at the old place, with every entry point leading to the new one.
// Nothing but `reserved` and the newborn's own kernel areas, `own`, may be mapped. `occupied` are the image's areas.
// The environment variable CRS_TEST_FOREIGN_VDSO, set to anything, makes it take the second way: for tests.
void restore_kernel_areas(RemoteCaller& remote, const image::KernelAreas& image, const std::vector<MapsLine>& own,
                          std::vector<RemoteRange> occupied, const std::vector<RemoteRange>& reserved);

}  // namespace crs::engine
