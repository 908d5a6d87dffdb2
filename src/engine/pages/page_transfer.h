// Moving many runs of pages between this process and another one with few system calls. Safe from several threads at
// once.
#pragma once

#include <cstddef>
#include <span>

#include "engine/pages/page_runs.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

// `bytes` has the total size of `runs`, which lie in it one behind the other. Both throw an Error that names the
// address.
void read_runs(const RemoteMemory& memory, std::span<const RemoteRange> runs, std::span<std::byte> bytes);
void write_runs(const RemoteMemory& memory, std::span<const RemoteRange> runs, std::span<const std::byte> bytes);

// Also where the program itself may not read, or pages are copied on write.
void read_runs_protected(const RemoteMemory& memory, std::span<const RemoteRange> runs, std::span<std::byte> bytes);

// Of a program that runs meanwhile: reads the pages that are (still) there and may be read, one behind the other, and
// returns them.
PageRuns read_runs_still_there(const RemoteMemory& memory, std::span<const RemoteRange> runs,
                               std::span<std::byte> bytes);

// The same where they are copied on write (PageArea::copied_on_write).
PageRuns read_runs_still_there_as_they_are(const RemoteMemory& memory, std::span<const RemoteRange> runs,
                                           std::span<std::byte> bytes);

// Pages that cannot be read come as zeros.
void read_runs_as_far_as_possible(const RemoteMemory& memory, std::span<const RemoteRange> runs,
                                  std::span<std::byte> bytes);

}  // namespace crs::engine
