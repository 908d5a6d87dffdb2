// Lists of page ranges as the tags of extents carry them.
#pragma once

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

// `process`: whose pages they are, by its index in the tree.
std::string encode_runs(std::span<const RemoteRange> runs, std::uint32_t process = 0);
// Checks that the runs are well formed; throws an Error of kind Damaged. They lie below 2^63.
PageRuns decode_runs(std::string_view tag);
// The process of a tag. Throws Damaged if it cannot be read.
std::uint32_t process_of(std::string_view tag);

}  // namespace crs::engine
