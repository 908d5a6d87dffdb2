// What a restart of an address space will need and this user, or this machine, does not have.
#pragma once

#include "engine/resources/context.h"
#include "engine/resources/memory/file_identity.h"
#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

// A restart holds some areas more than the program, and not everybody may have so many.
void look_for_room(CaptureContext& context, const image::Memory& image);

// Files whose permissions do not let this user map them again as the program has them mapped are refused.
void look_at_permissions(CaptureContext& context, const image::Memory& image, Backings& files);

}  // namespace crs::engine
