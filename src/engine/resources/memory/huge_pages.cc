#include "engine/resources/memory/huge_pages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/area_properties.h"

namespace crs::engine {
namespace {

using image::Area;

constexpr int kMapHugetlb = 0x40000;
// MAP_HUGE_SHIFT, MFD_HUGE_SHIFT, SHM_HUGE_SHIFT: above it stands the logarithm of the size.
constexpr int kSizeShift = 26;
constexpr std::uint64_t kSmallest = std::uint64_t{64} << 10;
constexpr std::uint64_t kLargest = std::uint64_t{16} << 30;

bool maps_content(const Area& area) {
  return area.kind() == Area::SHARED_CONTENT || area.kind() == Area::PRIVATE_CONTENT;
}

bool can_be(const Area& area) {
  const std::uint64_t page_bytes = area.huge_page_bytes();
  return is_huge_page_size(page_bytes) && area.start() % page_bytes == 0 && area.end() % page_bytes == 0 &&
         (area.kind() == Area::ANONYMOUS || area.offset() % page_bytes == 0) && !has_property(area, Area::GROWS_DOWN) &&
         !has_property(area, Area::NOT_MAPPED);
}

const image::SharedMemory& shared_by(const image::Memory& memory, const Area& area) {
  return memory.shared(static_cast<int>(area.backing()));
}

bool shows_all(const image::Memory& memory, const Area& area) {
  const image::SharedMemory& shared = shared_by(memory, area);
  return area.offset() == 0 && range_of(area).size() == shared.size();
}

// In a file, the end exclusive.
using FileParts = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

// Those of whole pages.
FileParts parts_with_data(const image::ContentObject& object) {
  const std::uint64_t page_bytes = object.huge_page_bytes();
  FileParts parts;
  for (const image::ContentObject::Extent& extent : object.data()) {
    const std::uint64_t end = extent.offset() + extent.bytes();
    parts.emplace_back(extent.offset() / page_bytes * page_bytes, (end + page_bytes - 1) / page_bytes * page_bytes);
  }
  return parts;
}

// What a file on a mounted hugetlbfs takes may have been set aside for its mount already (min_size).
bool is_counted(const image::ContentObject& object) {
  return object.huge_page_bytes() != 0 && object.origin() == image::ContentObject::MEMFD;
}

// Of all together: they may overlap.
std::uint64_t bytes_of(FileParts& parts) {
  std::ranges::sort(parts);
  std::uint64_t bytes = 0;
  std::uint64_t position = 0;
  for (const auto& [start, end] : parts) {
    if (end <= position) continue;
    bytes += end - std::max(start, position);
    position = end;
  }
  return bytes;
}

// Of the file system of huge pages where it lies; 0 where it does not.
std::uint64_t pages_of_file(const std::string& path) {
  struct statfs file_system{};
  const bool is_huge =
      ::statfs(path.c_str(), &file_system) == 0 && static_cast<std::uint64_t>(file_system.f_type) == HUGETLBFS_MAGIC;
  return is_huge ? static_cast<std::uint64_t>(file_system.f_bsize) : 0;
}

// MADV_GUARD_INSTALL knows no huge pages.
bool is_guarded(const image::Memory& memory, const Area& area) {
  return std::ranges::any_of(
      memory.guards(), [&](const image::AddressRange& guard) { return range_of(guard).overlaps(range_of(area)); });
}

// Documentation/admin-guide/mm/hugetlbpage.rst.
std::optional<std::uint64_t> pool_number(std::uint64_t page_bytes, std::string_view name) {
  try {
    const std::string text =
        read_file(fmt::format("/sys/kernel/mm/hugepages/hugepages-{}kB/{}", page_bytes / 1024, name));
    std::uint64_t number = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{}) return std::nullopt;
    return number;
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Free and promised to nobody, or to be made when they are wanted; nothing where that cannot be seen.
std::optional<std::uint64_t> free_huge_pages(std::uint64_t page_bytes) {
  constexpr const char* kPools = "/sys/kernel/mm/hugepages";
  const std::string pool = fmt::format("{}/hugepages-{}kB", kPools, page_bytes / 1024);
  if (::access(pool.c_str(), F_OK) != 0 && ::access(kPools, F_OK) == 0) return 0;
  const auto free = pool_number(page_bytes, "free_hugepages");
  const auto reserved = pool_number(page_bytes, "resv_hugepages");
  const auto most_surplus = pool_number(page_bytes, "nr_overcommit_hugepages");
  const auto surplus = pool_number(page_bytes, "surplus_hugepages");
  if (!free || !reserved || !most_surplus || !surplus) return std::nullopt;
  return *free - std::min(*free, *reserved) + *most_surplus - std::min(*most_surplus, *surplus);
}

}  // namespace

// How the kernel names the file behind it. Any file may be called so, but has no such pages.
bool is_anonymous_huge(const MappedArea& area) { return area.name == "/anon_hugepage (deleted)" && area.has("ht"); }

PageRuns touched_huge_pages(pid_t pid, const MappedArea& area) {
  // An entry of /proc/PID/pagemap: present, or under way to another place (shown as swapped).
  constexpr std::uint64_t kIsThere = (std::uint64_t{1} << 63) | (std::uint64_t{1} << 62);
  const std::string path = fmt::format("/proc/{}/pagemap", pid);
  const FileDescriptor pagemap = open_file(path, O_RDONLY);
  PageRuns runs;
  for (RemoteAddress page = area.range.start; page < area.range.end; page = page + area.page_bytes) {
    std::uint64_t entry = 0;
    const auto place = static_cast<off_t>(page.value / kPageSize * sizeof entry);
    if (::pread(pagemap.get(), &entry, sizeof entry, place) != sizeof entry) fail_errno(errno, "cannot read {}", path);
    if ((entry & kIsThere) != 0) append_run(runs, {page, page + area.page_bytes});
  }
  return runs;
}

std::optional<std::uint64_t> existing_huge_bytes(pid_t pid, RemoteRange area) {
  constexpr std::uint64_t kBlock = 512;  // of stat(2)
  const std::string path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, area.start.value, area.end.value);
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_blocks) * kBlock;
}

bool is_huge_page_size(std::uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kSmallest && bytes <= kLargest;
}

int huge_page_size_flags(std::uint64_t page_bytes) {
  return page_bytes == 0 ? 0 : std::countr_zero(page_bytes) << kSizeShift;
}

int huge_page_flags(std::uint64_t page_bytes) {
  return page_bytes == 0 ? 0 : kMapHugetlb | huge_page_size_flags(page_bytes);
}

void validate_huge_pages(const image::Memory& memory) {
  std::set<std::uint32_t> shown;
  for (const Area& area : memory.areas()) {
    const bool is_shared = area.kind() == Area::SHARED_MEMORY;
    const bool agrees = !is_shared || shared_by(memory, area).huge_page_bytes() == area.huge_page_bytes();
    if (agrees && area.huge_page_bytes() == 0) continue;
    const bool is_segment = is_shared && shared_by(memory, area).has_segment();
    const bool is_first_view = is_shared && shown.insert(area.backing()).second;
    const bool is_view = is_segment || (is_first_view && shows_all(memory, area));
    const bool can_have = is_view || !is_shared;
    if (!agrees || !can_have || !can_be(area) || is_guarded(memory, area))
      fail(ErrorKind::Damaged, "the image's area at {:#x} has huge pages that cannot be", area.start());
  }
  for (int i = 0; i < memory.shared_size(); ++i) {
    const bool is_huge = memory.shared(i).huge_page_bytes() != 0;
    if (is_huge && !shown.contains(static_cast<std::uint32_t>(i)))
      fail(ErrorKind::Damaged, "the image has shared memory of huge pages that no area shows");
  }
}

void validate_huge_files(const image::Memory& memory, const image::Descriptors& descriptors) {
  for (const Area& area : memory.areas()) {
    if (!maps_content(area)) continue;
    if (descriptors.objects(static_cast<int>(area.backing())).huge_page_bytes() != area.huge_page_bytes())
      fail(ErrorKind::Damaged, "the image's area at {:#x} has other pages than the file that it maps", area.start());
  }
}

void add_huge_pages(const image::Memory& memory, std::set<std::uint32_t>& seen, HugeMemory& demand) {
  for (const Area& area : memory.areas()) {
    const bool is_of_file = area.kind() == Area::SHARED_CONTENT || area.kind() == Area::SHARED_FILE;
    if (area.huge_page_bytes() == 0 || is_of_file || has_property(area, Area::NO_RESERVE)) continue;
    const bool is_shared = area.kind() == Area::SHARED_MEMORY;
    if (is_shared && shared_by(memory, area).has_segment()) continue;
    if (is_shared && !seen.insert(shared_by(memory, area).object()).second) continue;
    demand[area.huge_page_bytes()] += area.end() - area.start();
  }
}

void add_huge_files(std::span<const image::Memory* const> memories, const image::Descriptors& descriptors,
                    HugeMemory& demand) {
  std::map<std::uint32_t, FileParts> files;
  for (int i = 0; i < descriptors.objects_size(); ++i) {
    const image::ContentObject& object = descriptors.objects(i);
    if (is_counted(object)) files[static_cast<std::uint32_t>(i)] = parts_with_data(object);
  }
  for (const image::Memory* const memory : memories) {
    for (const Area& area : memory->areas()) {
      const bool reserves = area.kind() == Area::SHARED_CONTENT && !has_property(area, Area::NO_RESERVE);
      if (!reserves || !files.contains(area.backing())) continue;
      files[area.backing()].emplace_back(area.offset(), area.offset() + range_of(area).size());
    }
  }
  for (auto& [index, parts] : files)
    demand[descriptors.objects(static_cast<int>(index)).huge_page_bytes()] += bytes_of(parts);
}

void check_named_huge_files(const image::Memory& memory) {
  for (const Area& area : memory.areas()) {
    if (area.kind() != Area::SHARED_FILE && area.kind() != Area::PRIVATE_FILE) continue;
    const std::string& path = memory.files(static_cast<int>(area.backing())).path();
    if (area.huge_page_bytes() == 0 || pages_of_file(path) == area.huge_page_bytes()) continue;
    throw Error(ErrorKind::Failed, fmt::format("{}, which the program has mapped, was a file of huge pages of {} KiB",
                                               path, area.huge_page_bytes() / 1024))
        .advise("Mount a hugetlbfs of such pages there and put the file back");
  }
}

std::string advice_on_huge_pages(std::uint64_t page_bytes) {
  return fmt::format("Set more of them aside (/sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages)",
                     page_bytes / 1024);
}

void check_huge_supply(const HugeMemory& demand) {
  for (const auto& [page_bytes, bytes] : demand) {
    const std::uint64_t wanted = bytes / page_bytes;
    const std::optional<std::uint64_t> free = free_huge_pages(page_bytes);
    if (!free || wanted <= *free) continue;
    throw Error(
        ErrorKind::Failed,
        fmt::format("no space for the restarted program's memory: {} huge pages of {} KiB are needed, {} are free",
                    wanted, page_bytes / 1024, *free))
        .advise(advice_on_huge_pages(page_bytes));
  }
}

}  // namespace crs::engine
