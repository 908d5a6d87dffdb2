// Ranges of an address space: which an image takes, which are free, and whether an image is one that can be.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/resources/memory/memory.pb.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {

// The end of what a program can map with four-level page tables (Documentation/arch/x86/x86_64/mm.rst).
inline constexpr RemoteAddress kAddressLimit{0x7ffffffff000};

inline RemoteRange range_of(const image::Area& area) { return {{area.start()}, {area.end()}}; }
inline RemoteRange range_of(const image::KernelAreas::Part& part) { return {{part.start()}, {part.end()}}; }
inline RemoteRange range_of(const image::AddressRange& range) { return {{range.start()}, {range.end()}}; }

// From the first to the last part; empty if there are none.
RemoteRange hull_of(const image::KernelAreas& kernel);

// What lies between `taken` (any order, overlaps allowed), ascending, up to kAddressLimit and from address 0 on.
std::vector<RemoteRange> free_ranges(std::vector<RemoteRange> taken);

// A free place of `bytes` bytes (a multiple of the page size) as near to `near` as there is, not below 16 MiB and a
// page away from everything taken. Nothing if there is none.
std::optional<RemoteAddress> find_free(const std::vector<RemoteRange>& taken, std::uint64_t bytes, RemoteAddress near);

// Throws an Error of kind Damaged unless the image's areas are ascending, apart from each other, on pages and within
// what can be mapped, and every reference leads somewhere.
void validate(const image::Memory& memory, std::uint32_t content_objects);

}  // namespace crs::engine
