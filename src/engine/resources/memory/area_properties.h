// The properties of an area beside its protection: how smaps shows each and by which call it comes back.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/smaps.h"

namespace crs::engine {

struct AreaProperty {
  image::Area::Property property;
  std::string_view flag;      // in VmFlags
  std::optional<int> advice;  // for madvise(2), where that sets it
};

std::span<const AreaProperty> area_properties();

// Records what the flags of `area` say.
void capture_properties(const MappedArea& area, image::Area& image);

bool has_property(const image::Area& area, image::Area::Property property);

}  // namespace crs::engine
