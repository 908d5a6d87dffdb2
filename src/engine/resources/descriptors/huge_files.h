// Content objects that lie in huge pages that were set aside: files of hugetlbfs
// (Documentation/admin-guide/mm/hugetlbpage.rst), memfd_create(2) with MFD_HUGETLB. Such a file is read like any other,
// and written through a mapping alone; its size is one of whole pages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/content_objects.pb.h"

namespace crs::engine {

// Of the pages that this open file lies in; 0 where that is no hugetlbfs.
std::uint64_t huge_page_bytes_of(int descriptor);

// Throws Damaged for an object that cannot be, as far as its pages go.
void check_huge_file(const image::ContentObject& object);

// A file like the unlinked `object`, where that was if there are such pages still. Otherwise one without a directory
// (memfd_create(2)), which `notes` tells; not for `flags` with O_TMPFILE, which that cannot have.
FileDescriptor make_huge_unlinked(const image::ContentObject& object, std::uint32_t flags,
                                  std::vector<std::string>& notes);

// unpack_content() for such a file. Takes a huge page for each that has data, and no others.
void unpack_huge_content(int from, int to, const image::ContentObject& object, std::string_view what);

}  // namespace crs::engine
