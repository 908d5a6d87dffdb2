// Lists of page ranges as the tags of extents carry them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tracee/remote_address.h"

namespace crs::engine {

// Ascending, without overlaps, all boundaries on pages, none empty.
using PageRuns = std::vector<RemoteRange>;

// Appends `run`, as part of the last run if it begins where that one ends.
void append_run(PageRuns& runs, RemoteRange run);
std::uint64_t total_bytes(std::span<const RemoteRange> runs);

// The parts of `run` that lie in `others` (ascending), and those that do not.
PageRuns common_parts(RemoteRange run, std::span<const RemoteRange> others);
PageRuns other_parts(RemoteRange run, std::span<const RemoteRange> others);

// The tag of an extent whose payload has the pages of `runs`, one behind the other. `process`: whose pages they are, by
// its index in the tree.
std::string encode_runs(std::span<const RemoteRange> runs, std::uint32_t process = 0);
// The same as those of `process`, with the note that only pages in `counting` (ascending) count; the others stay in the
// payload.
std::string only_pages(std::string_view tag, std::span<const RemoteRange> counting, std::uint32_t process);

// The pages that an extent holds, and where in its payload.
struct ExtentPages {
  PageRuns runs;
  std::vector<std::uint64_t> offsets;  // of each run, in bytes; ascending

  // Moves the pages that count together at the beginning of the payload; returns them.
  std::span<std::byte> gather(std::span<std::byte> payload) const;
};

// Checks that the tag is well formed and fits a payload of that size; throws an Error of kind Damaged. The runs lie
// below 2^63.
ExtentPages decode_pages(std::string_view tag, std::uint64_t payload_bytes);
// All runs of the payload, also of pages that count no more.
PageRuns decode_runs(std::string_view tag);
// The process of a tag. Throws Damaged if it cannot be read.
std::uint32_t process_of(std::string_view tag);

}  // namespace crs::engine
