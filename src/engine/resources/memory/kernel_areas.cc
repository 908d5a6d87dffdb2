#include "engine/resources/memory/kernel_areas.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/vdso.h"

namespace crs::engine {
namespace {

// The newborn's kernel areas, as a block that only moves as a whole: the code finds its data by distance.
class Block {
 public:
  Block(RemoteCaller& remote, const std::vector<MapsLine>& own) : remote_(remote), parts_(own) {}

  RemoteRange hull() const { return {parts_.front().range.start, parts_.back().range.end}; }
  const std::vector<MapsLine>& parts() const { return parts_; }

  std::vector<std::byte> code() const {
    const RemoteRange range = vdso();
    std::vector<std::byte> bytes(range.size());
    remote_.memory().read(range.start, bytes);
    return bytes;
  }
  RemoteRange vdso() const {
    const auto found = std::ranges::find(parts_, "[vdso]", &MapsLine::name);
    if (found == parts_.end())
      fail(ErrorKind::Failed, "this kernel gives programs no vDSO (vdso=0), but the program used one");
    return found->range;
  }

  // By way of a place between where old and new overlap. False: this kernel does not let its areas be moved.
  bool move(RemoteAddress to, const std::vector<RemoteRange>& taken) {
    const RemoteRange wanted{to, to + hull().size()};
    if (to == hull().start) return true;
    if (wanted.overlaps(hull())) {
      std::vector<RemoteRange> avoid = taken;
      avoid.insert(avoid.end(), {wanted, hull()});
      const auto between = find_free(avoid, hull().size(), to);
      if (!between) fail(ErrorKind::Failed, "there is no free place for the vDSO");
      if (!move_directly(*between)) return false;
    }
    return move_directly(to);
  }

 private:
  bool move_directly(RemoteAddress to) {
    const RemoteAddress from = hull().start;
    for (MapsLine& part : parts_) {
      const RemoteAddress target = to + (part.range.start - from);
      const std::uint64_t size = part.range.size();
      const std::int64_t result = remote_.raw_call(
          SYS_mremap, {part.range.start.value, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target.value, 0});
      // CONFIG_MSEAL_SYSTEM_MAPPINGS (Linux 6.15): all parts are sealed, so the first one tells.
      if (result == -EPERM && &part == &parts_.front()) return false;
      if (static_cast<std::uint64_t>(result) != target.value) {
        fail_errno(static_cast<int>(-result), "cannot move {} to {:#x}", part.name, target.value);
      }
      part.range = {target, target + size};
    }
    return true;
  }

  RemoteCaller& remote_;
  std::vector<MapsLine> parts_;  // ascending
};

// Names, sizes and distances are the same.
bool same_shape(const image::KernelAreas& image, const std::vector<MapsLine>& parts) {
  const RemoteAddress image_start = hull_of(image).start;
  return std::ranges::equal(image.parts(), parts, [&](const image::KernelAreas::Part& wanted, const MapsLine& part) {
    const RemoteRange range = range_of(wanted);
    return wanted.name() == part.name && range.size() == part.range.size() &&
           range.start - image_start == part.range.start - parts.front().range.start;
  });
}

void map_memory(RemoteCaller& remote, RemoteRange range, int protection) {
  remote.call("mmap", SYS_mmap, range.start, range.size(), protection,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

// The image's own code as ordinary memory, leading to `block`; zeros where its data was, which its code takes for "no
// clock to be read without a system call" (vdso_data.clock_mode 0).
void map_old_code(RemoteCaller& remote, const image::KernelAreas& image, const Block& block) {
  for (const image::KernelAreas::Part& part : image.parts()) {
    const RemoteRange range = range_of(part);
    if (part.name() != "[vdso]") {
      map_memory(remote, range, PROT_READ);
      continue;
    }
    map_memory(remote, range, PROT_READ | PROT_WRITE);
    remote.memory().write(range.start,
                          lead_to_new_vdso(as_byte_span(image.code()), range.start, block.code(), block.vdso().start));
    remote.call("mprotect", SYS_mprotect, range.start, range.size(), PROT_READ | PROT_EXEC);
  }
}

void move_out_of_the_way(Block& block, const image::KernelAreas& image, const std::vector<RemoteRange>& taken) {
  // Near the old code, so that short jumps reach it.
  const auto place = find_free(taken, block.hull().size(), hull_of(image).start);
  if (place && block.move(*place, taken)) return;
  const bool in_the_way =
      std::ranges::any_of(taken, [&](const RemoteRange& range) { return range.overlaps(block.hull()); });
  if (!in_the_way) return;
  throw Error(ErrorKind::Failed,
              fmt::format("this kernel's vDSO at {:#x} lies where the program has memory, and is sealed",
                          block.hull().start.value))
      .advise("Try again: its place is another each time");
}

}  // namespace

void restore_kernel_areas(RemoteCaller& remote, const image::KernelAreas& image, const std::vector<MapsLine>& own,
                          std::vector<RemoteRange> occupied, const std::vector<RemoteRange>& reserved) {
  std::ranges::copy(reserved, std::back_inserter(occupied));
  if (own.empty()) {
    if (!image.code().empty())
      fail(ErrorKind::Failed, "this kernel gives programs no vDSO (vdso=0), but the program used one");
    return;
  }
  if (image.parts().empty()) {  // the program has unmapped them
    for (const MapsLine& part : own)
      remote.call("munmap of " + part.name, SYS_munmap, part.range.start, part.range.size());
    return;
  }
  Block block(remote, own);
  const bool same = same_shape(image, own) && std::ranges::equal(block.code(), as_byte_span(image.code())) &&
                    std::getenv("CRS_TEST_FOREIGN_VDSO") == nullptr;  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (same && block.move(hull_of(image).start, reserved)) return;
  move_out_of_the_way(block, image, occupied);
  map_old_code(remote, image, block);
}

}  // namespace crs::engine
