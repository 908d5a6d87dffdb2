// The local descriptor table of a process: segments of its own (modify_ldt(2)), as old Wine and emulators make them.
#pragma once

#include "engine/resources/attributes/attributes.pb.h"
#include "engine/resources/context.h"

namespace crs::engine {

void capture_local_descriptors(CaptureContext& context, image::Attributes& attributes);
// Throws an Error of kind Damaged for what is no such table.
void check_local_descriptors(const image::Attributes& attributes);
// To be called before registers are set, which may name its segments.
void restore_local_descriptors(RestoreContext& context, const image::Attributes& attributes);

}  // namespace crs::engine
