// Memory of huge pages that were set aside (hugetlbfs): mmap(2), MAP_HUGETLB. Not those that the kernel takes by itself
// (madvise(2), MADV_HUGEPAGE), which are pages like all others here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "engine/pages/page_runs.h"
#include "engine/resources/descriptors/descriptors.pb.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/smaps.h"

namespace crs::engine {

// MAP_ANONYMOUS | MAP_HUGETLB, private or shared.
bool is_anonymous_huge(const MappedArea& area);

// Those pages of `area` that process `pid` has touched, by its page tables. Looks at them without bringing any in, as
// reading would.
PageRuns touched_huge_pages(pid_t pid, const MappedArea& area);

// How many bytes there are in all of shared memory, whoever has touched them; nothing where this may not be asked
// (proc_pid_map_files(5)).
std::optional<std::uint64_t> existing_huge_bytes(pid_t pid, RemoteRange area);

// Whether there are machines with pages of so many bytes.
bool is_huge_page_size(std::uint64_t bytes);

// The size of such pages as mmap(2), memfd_create(2) and shmget(2) take it among their flags; 0 for 0.
int huge_page_size_flags(std::uint64_t page_bytes);
// What mmap(2) takes beside MAP_ANONYMOUS for pages of so many bytes; 0 for 0.
int huge_page_flags(std::uint64_t page_bytes);

// Throws an Error of kind Damaged unless the image's huge pages can be.
void validate_huge_pages(const image::Memory& memory);
// The same for the files that areas map, whose numbers must have been checked.
void validate_huge_files(const image::Memory& memory, const image::Descriptors& descriptors);

// Bytes of huge pages by their size.
using HugeMemory = std::map<std::uint64_t, std::uint64_t>;

// Adds what the memory of one process takes as soon as it is mapped (not that without reservation, nor segments). What
// several show counts for the one that shows it first: `seen` has the numbers of the objects that have been counted.
void add_huge_pages(const image::Memory& memory, std::set<std::uint32_t>& seen, HugeMemory& demand);

// Adds what is in the memory files of all processes, and what these have reserved in them (MAP_SHARED). Of what lies on
// a mounted hugetlbfs nobody knows what is set aside for it already.
void add_huge_files(std::span<const image::Memory* const> memories, const image::Descriptors& descriptors,
                    HugeMemory& demand);

// Throws unless the areas' files lie in such pages as they did.
void check_named_huge_files(const image::Memory& memory);

// What to do where there are too few.
std::string advice_on_huge_pages(std::uint64_t page_bytes);

// Throws unless so many are free here.
void check_huge_supply(const HugeMemory& demand);

}  // namespace crs::engine
