// Contexts of Linux asynchronous I/O (io_setup(2)): each is the mapping of the ring in which the kernel puts its
// answers, by whose address the program names it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/resources/memory/asynchronous_io/asynchronous_io.pb.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/smaps.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// Whether the area is such a ring. What devices write for requests that are under way no tracking of writes shows.
bool is_asynchronous_io(const MapsLine& line);

// Whether there are answers that the program has not read.
bool has_unread_answers(const RemoteMemory& memory, RemoteRange ring);

// What `remote` finds out about the context whose ring lies at `ring`.
struct AsynchronousIoState {
  std::string obstacle;         // why it cannot be kept; empty: it can
  std::uint64_t under_way = 0;  // requests; then it cannot be kept either
  std::uint64_t answers = 0;    // unread
};
// Waits for what is under way as long as `patience`. Fills `image` where it can be kept.
//
// The kernel tells nobody what is under way. But it lets a context have no more requests than its ring has room for
// their answers: so many of one that is answered at once are asked for as it takes, and their answers taken out again.
AsynchronousIoState capture_asynchronous_io(RemoteCaller& remote, RemoteRange ring, std::chrono::milliseconds patience,
                                            image::AsynchronousIo& image);

// Throws Damaged for one that cannot be.
void validate_asynchronous_io(const image::Area& area, const image::AsynchronousIo& image);

// Makes it where the newborn has nothing but a placeholder, which it takes the place of.
void restore_asynchronous_io(RemoteCaller& remote, const image::Area& area, const image::AsynchronousIo& image);

}  // namespace crs::engine
