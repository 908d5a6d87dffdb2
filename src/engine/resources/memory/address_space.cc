#include "engine/resources/memory/address_space.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <climits>
#include <utility>

#include "base/error.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {
namespace {

using image::Area;

constexpr RemoteAddress kLowestOwnPlace{16 << 20};
// The most that the kernel stores (AT_VECTOR_SIZE), and that fits behind the structure in the remote caller's scratch
// memory.
constexpr std::size_t kMaximumAuxiliaryVector = 880;

void sort(std::vector<RemoteRange>& ranges) { std::ranges::sort(ranges, {}, &RemoteRange::start); }

bool sound(RemoteRange range) {
  return range.start < range.end && range.end <= kAddressLimit && range.start.value % kPageSize == 0 &&
         range.end.value % kPageSize == 0;
}

// Ascending and apart from each other.
template <typename Ranges>
void validate_ranges(const Ranges& ranges, std::string_view what) {
  RemoteAddress end;
  for (const auto& entry : ranges) {
    const RemoteRange range = range_of(entry);
    if (!sound(range) || range.start < end) {
      fail(ErrorKind::Damaged, "the image holds {} {:#x}-{:#x}, which cannot be there", what, range.start.value,
           range.end.value);
    }
    end = range.end;
  }
}

std::uint32_t backings_of(const image::Memory& memory, Area::Kind kind, std::uint32_t content_objects) {
  switch (kind) {
    case Area::ANONYMOUS:
      return 1;
    case Area::PRIVATE_FILE:
    case Area::SHARED_FILE:
      return static_cast<std::uint32_t>(memory.files_size());
    case Area::SHARED_MEMORY:
      return static_cast<std::uint32_t>(memory.shared_size());
    case Area::SHARED_CONTENT:
    case Area::PRIVATE_CONTENT:
      return content_objects;
    case Area::ASYNCHRONOUS_IO:
      return static_cast<std::uint32_t>(memory.asynchronous_io_size());
    default:
      return 0;
  }
}

void validate_area(const image::Memory& memory, const Area& area, std::uint32_t content_objects) {
  const auto refuse = [&](std::string_view what) {
    fail(ErrorKind::Damaged, "the image's area at {:#x} has {}", area.start(), what);
  };
  if (area.backing() >= backings_of(memory, area.kind(), content_objects)) refuse("nothing behind it");
  if (area.protection() > 7) refuse("an unknown protection");
  if (area.protection_key() > 15) refuse("an unknown protection key");
  if (area.offset() % kPageSize != 0 || area.offset() > (std::uint64_t{1} << 62)) refuse("an offset that cannot be");
  if (has_property(area, Area::NOT_MAPPED) && area.kind() != Area::SHARED_MEMORY) refuse("no memory to go on");
  if (area.kind() == Area::ASYNCHRONOUS_IO)
    validate_asynchronous_io(area, memory.asynchronous_io(static_cast<int>(area.backing())));
  if (area.name().size() > 79 || area.name().find('\0') != std::string::npos) refuse("a name that cannot be");
  if (area.kind() == Area::SHARED_MEMORY) {
    const std::uint64_t size = memory.shared(static_cast<int>(area.backing())).size();
    if (area.offset() > size || range_of(area).size() > size - area.offset()) refuse("too little memory behind it");
  }
}

// What is left out must read as zero: only what begins as zeros does.
void validate_excluded(const image::Memory& memory) {
  auto area = memory.areas().begin();
  for (const image::AddressRange& left_out : memory.excluded()) {
    RemoteAddress position{left_out.start()};
    while (position.value < left_out.end()) {
      while (area != memory.areas().end() && area->end() <= position.value) ++area;
      const bool zeros = area != memory.areas().end() && area->start() <= position.value &&
                         (area->kind() == Area::ANONYMOUS || area->kind() == Area::SHARED_MEMORY);
      if (!zeros) fail(ErrorKind::Damaged, "the image leaves out memory at {:#x}, where there is none", position.value);
      position.value = area->end();
    }
  }
}

void validate_kernel_areas(const image::KernelAreas& kernel) {
  validate_ranges(kernel.parts(), "a kernel area at");
  std::uint64_t code_bytes = 0;
  for (const image::KernelAreas::Part& part : kernel.parts()) {
    if (range_of(part).size() > std::uint64_t{16} << 20)
      fail(ErrorKind::Damaged, "the image's {} is too large", part.name());
    if (part.name() != "[vdso]") continue;
    if (code_bytes != 0) fail(ErrorKind::Damaged, "the image has a second vDSO at {:#x}", part.start());
    code_bytes = range_of(part).size();
  }
  if (code_bytes != kernel.code().size())
    fail(ErrorKind::Damaged, "the image's vDSO has {} bytes of code", kernel.code().size());
}

// What the kernel would refuse when half of the program is there (prctl(2), PR_SET_MM_MAP).
void validate_layout(const image::Layout& layout, std::uint32_t content_objects) {
  const std::array<std::pair<std::uint64_t, std::uint64_t>, 6> parts{{
      {layout.start_code(), layout.end_code()},
      {layout.start_data(), layout.end_data()},
      {layout.start_brk(), layout.brk()},
      {layout.arg_start(), layout.arg_end()},
      {layout.env_start(), layout.env_end()},
      {layout.start_stack(), layout.start_stack()},
  }};
  for (const auto& [start, end] : parts) {
    if (start > end || end >= kAddressLimit.value)
      fail(ErrorKind::Damaged, "the image's layout has a part {:#x}-{:#x}, which cannot be there", start, end);
  }
  if (layout.has_executable_object() && layout.executable_object() >= content_objects)
    fail(ErrorKind::Damaged, "the image's executable is not there");
  if (layout.auxiliary_vector().size() > kMaximumAuxiliaryVector)
    fail(ErrorKind::Damaged, "the image's auxiliary vector has {} bytes", layout.auxiliary_vector().size());
}

}  // namespace

RemoteRange hull_of(const image::KernelAreas& kernel) {
  if (kernel.parts().empty()) return {};
  return {{kernel.parts(0).start()}, {kernel.parts(kernel.parts_size() - 1).end()}};
}

std::vector<RemoteRange> free_ranges(std::vector<RemoteRange> taken) {
  sort(taken);
  std::vector<RemoteRange> free;
  RemoteAddress position;
  for (const RemoteRange& range : taken) {
    if (range.start > position) free.push_back({position, std::min(range.start, kAddressLimit)});
    position = std::max(position, range.end);
    if (position >= kAddressLimit) return free;
  }
  free.push_back({position, kAddressLimit});
  return free;
}

std::optional<RemoteAddress> find_free(const std::vector<RemoteRange>& taken, std::uint64_t bytes, RemoteAddress near) {
  std::optional<RemoteAddress> best;
  const auto distance = [&](RemoteAddress place) { return place > near ? place - near : near - place; };
  for (const RemoteRange& hole : free_ranges(taken)) {
    const RemoteAddress first = std::max(hole.start + kPageSize, kLowestOwnPlace);
    if (hole.end < first + bytes + kPageSize) continue;
    const RemoteAddress last = hole.end - bytes - kPageSize;
    const RemoteAddress place = std::clamp(near, first, last);
    if (!best || distance(place) < distance(*best)) best = place;
  }
  return best;
}

std::vector<RemoteRange> occupied_ranges(const image::Memory& memory) {
  std::vector<RemoteRange> ranges;
  for (const Area& area : memory.areas()) ranges.push_back(range_of(area));
  for (const image::KernelAreas::Part& part : memory.kernel().parts()) ranges.push_back(range_of(part));
  sort(ranges);
  return ranges;
}

void validate(const image::Memory& memory, std::uint32_t content_objects) {
  validate_ranges(memory.areas(), "an area at");
  validate_ranges(memory.guards(), "guard pages at");
  validate_ranges(memory.excluded(), "left out memory at");
  validate_kernel_areas(memory.kernel());
  for (const Area& area : memory.areas()) validate_area(memory, area, content_objects);
  validate_excluded(memory);
  for (const image::SharedMemory& shared : memory.shared()) {
    if (shared.size() == 0 || shared.size() % kPageSize != 0 || shared.size() > kAddressLimit.value) {
      fail(ErrorKind::Damaged, "the image holds shared memory of {} bytes", shared.size());
    }
  }
  validate_huge_pages(memory);
  const std::vector<RemoteRange> ranges = occupied_ranges(memory);
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i - 1].overlaps(ranges[i]))
      fail(ErrorKind::Damaged, "the image's vDSO lies in an area at {:#x}", ranges[i - 1].start.value);
  }
  if ((memory.future_locks() & ~(std::uint32_t{MCL_FUTURE} | MCL_ONFAULT)) != 0)
    fail(ErrorKind::Damaged, "the image has unknown locks");
  for (const image::MappedFile& file : memory.files()) {
    if (!file.path().starts_with('/') || file.path().size() >= PATH_MAX ||
        file.path().find('\0') != std::string::npos) {
      fail(ErrorKind::Damaged, "the image names a file '{}', which cannot be", file.path().substr(0, 100));
    }
  }
  validate_layout(memory.layout(), content_objects);
}

}  // namespace crs::engine
