// The ring of a context as it lies in the program's memory (struct aio_ring in the kernel's fs/aio.c).
#pragma once

#include <linux/aio_abi.h>

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tracee/remote_address.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

struct RingHeader {
  std::uint32_t id = 0;
  std::uint32_t slots = 0;
  std::uint32_t head = 0;  // of the oldest answer; the program moves it on as well
  std::uint32_t tail = 0;  // where the next one will stand
  std::uint32_t magic = 0;
  std::uint32_t compatible_features = 0;
  std::uint32_t incompatible_features = 0;
  std::uint32_t header_bytes = 0;
};
static_assert(sizeof(RingHeader) == 32 && sizeof(io_event) == 32);

// How many slots the kernel makes of so much memory.
constexpr std::uint64_t slots_in(std::uint64_t bytes) { return (bytes - sizeof(RingHeader)) / sizeof(io_event); }
// So many requests may be without an answer that was read: one slot stays free, and the kernel gives room away in
// batches, by the number of processors that there may ever be (struct kioctx in fs/aio.c).
std::uint64_t capacity_in(std::uint64_t bytes);

class Ring {
 public:
  // `memory` must outlive this.
  Ring(const RemoteMemory& memory, RemoteRange range)
      : memory_(memory), range_(range), slots_(slots_in(range.size())) {}

  // Whether it looks like one that this code knows.
  bool is_known() const;
  std::uint64_t unread() const;
  // The unread answers, oldest first.
  std::vector<io_event> answers() const;
  // Replaces those of them that `is_wanted`, in their order, by `events`, as far as there are any.
  template <typename Wanted>
  void replace(std::span<const io_event> events, Wanted is_wanted) const {
    const std::uint64_t head = header().head;
    const std::vector<io_event> present = answers();
    for (std::size_t i = 0; i < present.size() && !events.empty(); ++i) {
      if (!is_wanted(present[i])) continue;
      memory_.write_value(place_of(head + i), events.front());
      events = events.subspan(1);
    }
  }

 private:
  RingHeader header() const { return memory_.read_value<RingHeader>(range_.start); }
  RemoteAddress place_of(std::uint64_t slot) const {
    return range_.start + sizeof(RingHeader) + slot % slots_ * sizeof(io_event);
  }

  const RemoteMemory& memory_;
  RemoteRange range_;
  std::uint64_t slots_;  // not as the ring says: others may write to it
};

}  // namespace crs::engine
