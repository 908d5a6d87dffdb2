// Memory of huge pages that were set aside (hugetlbfs): mmap(2), MAP_HUGETLB. Not those that the kernel takes by itself
// (madvise(2), MADV_HUGEPAGE), which are pages like all others here.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "engine/procfs/maps.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/smaps.h"

namespace crs::engine {

// How the kernel names the file behind MAP_ANONYMOUS | MAP_HUGETLB, private or shared.
bool is_anonymous_huge(const MapsLine& line);

// What mmap(2) takes beside MAP_ANONYMOUS for pages of so many bytes; 0 for 0.
int huge_page_flags(std::uint64_t page_bytes);

// Throws an Error of kind Damaged unless the image's huge pages can be.
void validate_huge_pages(const image::Memory& memory);

// Bytes of huge pages by their size.
using HugeMemory = std::map<std::uint64_t, std::uint64_t>;

// Adds what the memory of one process takes as soon as it is mapped. What several show counts for the one that shows it
// first: `seen` has the numbers of the objects that have been counted.
void add_huge_pages(const image::Memory& memory, std::set<std::uint32_t>& seen, HugeMemory& demand);

// Throws unless so many are free here.
void check_huge_supply(const HugeMemory& demand);

}  // namespace crs::engine
