// Ids and keys in this IPC namespace: what is in use, and what a killed program has left.
#pragma once

#include "engine/resources/system_v/objects.h"

namespace crs::engine {

void remove_object(const image::SharedSegment& segment);
void remove_object(const image::SemaphoreSet& set);
void remove_object(const image::MessageQueue& queue);

// Whatever is at the object's place: what was left behind, if check_free() has said so.
bool is_taken(const image::SharedSegment& segment);
bool is_taken(const image::SemaphoreSet& set);
bool is_taken(const image::MessageQueue& queue);

}  // namespace crs::engine
