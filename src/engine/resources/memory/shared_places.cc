#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "engine/procfs/maps.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/shared_objects.h"

namespace crs::engine {
namespace {

constexpr RemoteAddress kNear{std::uint64_t{1} << 32};

std::uint64_t whole_pages(std::uint64_t bytes, std::uint64_t page_bytes) {
  return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

std::uint64_t size_of_segment(const image::SystemV& system_v, int id) {
  for (const image::SharedSegment& segment : system_v.segments()) {
    if (segment.object().id() == id) return segment.size();
  }
  fail(ErrorKind::Damaged, "the image has no System V segment {}", id);
}

void attach_segment(int id, RemoteAddress address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): chosen among free addresses
  void* const wanted = reinterpret_cast<void*>(address.value);
  if (::shmat(id, wanted, 0) != wanted) fail_errno(errno, "cannot attach System V shared memory segment {}", id);
}

}  // namespace

void SharedPlaces::collect(std::span<const image::Memory* const> memories, const image::SystemV& system_v) {
  std::map<std::uint32_t, int> users;
  for (const image::Memory* const memory : memories) {
    for (const image::SharedMemory& shared : memory->shared()) {
      ++users[shared.object()];
      Place& place = places_[shared.object()];
      place.size = std::max(place.size, shared.size());
      place.reserves = place.reserves || shared.reserves();
      if (users[shared.object()] > 1 && place.huge_page_bytes != shared.huge_page_bytes())
        fail(ErrorKind::Damaged, "processes of the image share memory of different huge pages");
      place.huge_page_bytes = shared.huge_page_bytes();
      if (!shared.has_segment()) continue;
      place.segment = shared.segment();
      place.size = whole_pages(size_of_segment(system_v, shared.segment()), place.alignment());
    }
  }
  std::erase_if(places_, [&](const auto& place) {
    return place.first == 0 || (users[place.first] < 2 && !place.second.segment);
  });
}

SharedPlaces::SharedPlaces(std::span<const image::Memory* const> memories, const image::SystemV& system_v) {
  collect(memories, system_v);
  if (places_.empty()) return;

  std::uint64_t bytes = 0;
  for (const auto& [object, place] : places_) {
    bytes += place.size + (place.alignment() - kPageSize);
    if (bytes > kAddressLimit.value)
      fail(ErrorKind::Damaged, "the processes share more memory than there are addresses");
  }
  std::vector<RemoteRange> taken;
  for (const MapsLine& line : read_maps(::getpid())) taken.push_back(line.range);
  for (const image::Memory* const memory : memories) {
    const std::vector<RemoteRange> occupied = occupied_ranges(*memory);
    taken.insert(taken.end(), occupied.begin(), occupied.end());
  }
  const std::optional<RemoteAddress> start = find_free(taken, bytes, kNear);
  if (!start) fail(ErrorKind::Failed, "there is no room for {} bytes of shared memory in the address space", bytes);
  range_ = {*start, *start + bytes};
  RemoteAddress next = *start;
  for (auto& [object, place] : places_) {
    place.address = {whole_pages(next.value, place.alignment())};
    next = place.address + place.size;
  }
}

std::optional<RemoteAddress> SharedPlaces::find(const image::SharedMemory& memory) const {
  const auto found = places_.find(memory.object());
  if (found == places_.end()) return std::nullopt;
  return found->second.address;
}

void SharedPlaces::make_inside() const {
  for (const auto& [object, place] : places_) {
    if (place.segment) {
      attach_segment(*place.segment, place.address);
      continue;
    }
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (place.reserves ? 0 : MAP_NORESERVE) |
                      huge_page_flags(place.huge_page_bytes);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): chosen among free addresses
    void* const wanted = reinterpret_cast<void*>(place.address.value);
    if (::mmap(wanted, place.size, PROT_READ | PROT_WRITE, flags, -1, 0) != wanted)
      fail_errno(errno, "cannot make {} bytes of shared memory", place.size);
  }
}

}  // namespace crs::engine
