// Making content objects (content_objects.h) again.
#pragma once

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// Throws Damaged for an object that cannot be, or that is not of the origin: PATH, or UNKNOWN for
// any other.
void check_content_object(const ContentStore& content, const image::ContentObject& object,
                          image::ContentObject::Origin origin);

// As memfd_create(2) makes it, to be sealed, executable where that is allowed. `huge_page_bytes`: of its pages
// (MFD_HUGETLB); 0: usual ones. A name that is too long is cut.
FileDescriptor make_memory_file(std::string_view name, std::uint64_t huge_page_bytes = 0);

// Throws Damaged for objects that cannot be.
void check_content_objects(const TableCheck& table);

// Throws Damaged unless there is such an object, and it is a directory or not, as `origin` (DIRECTORY or another) is.
void check_object(const TableCheck& table, std::uint32_t object, image::ContentObject::Origin origin);

// Whether a description of an unlinked file is the one by which it was made without a name (O_TMPFILE, open(2)).
bool made_its_file(const image::OpenDescription& description);

// Makes all of them, at their private numbers, writable whatever their mode will be.
void make_content_objects(TableRestore& table);

// When everybody has opened them: owner, mode, time of modification.
void finish_content_objects(NewbornContext& context, const image::Descriptors& image);

// From outside, when everybody has mapped them: seals, what modes still lack, and the private numbers are closed.
// `processes`: as activate_descriptors() has them.
void seal_content_objects(std::span<RestoreContext* const> processes, const image::Descriptors& image);

}  // namespace crs::engine
