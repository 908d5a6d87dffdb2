// Extended attributes (xattr(7)) of files that the snapshot has the content of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/resources/descriptors/content_objects.pb.h"

namespace crs::engine {

// Those of the open file `descriptor` (not O_PATH), called `what`. One that this user may not read is added to
// `warnings`.
void capture_extended_attributes(int descriptor, std::string_view what, image::ContentObject& object,
                                 std::vector<std::string>& warnings);

// Throws Damaged for attributes that cannot be.
void check_extended_attributes(const image::ContentObject& object);

// Those that are for who may write to the file come before it gets its owner and mode; those that the change of these
// would take away or alter (capabilities, access control lists) after it.
enum class AttributeStage { BeforeOwner, AfterMode };

// Sets those of that stage. One that cannot be set is added to `notes`.
void restore_extended_attributes(int descriptor, AttributeStage stage, const image::ContentObject& object,
                                 std::vector<std::string>& notes);

}  // namespace crs::engine
