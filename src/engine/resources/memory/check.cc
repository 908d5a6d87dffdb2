#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/page_loader.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/file_identity.h"
#include "engine/resources/memory/guard_pages.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/memory_supply.h"
#include "engine/resources/memory/page_data.h"

namespace crs::engine {
namespace {

using image::Area;

// More private memory than this is no program's that ran: there is no such machine, and what only reserves addresses
// says so (MAP_NORESERVE).
constexpr std::uint64_t kMostMemory = std::uint64_t{32} << 40;

bool is_private(const Area& area) {
  return area.kind() == Area::ANONYMOUS || area.kind() == Area::PRIVATE_FILE || area.kind() == Area::PRIVATE_CONTENT;
}

bool has_page_data(const Area& area) { return is_private(area) || area.kind() == Area::SHARED_MEMORY; }

[[noreturn]] void fail_forbidden(const std::string& path, int problem) {
  throw Error::from_errno(fmt::format("cannot open {}, which the program has mapped", path), problem)
      .advise("Give yourself the right to open it again (chmod), or restart as root");
}

// Of a file that some area shares for writing.
bool has_been_written(const image::MappedFile& file) {
  struct stat now{};
  return file.writable() && !file.private_areas() && ::stat(file.path().c_str(), &now) == 0 &&
         (now.st_mtim.tv_sec != file.modified_seconds() || now.st_mtim.tv_nsec != file.modified_nanoseconds());
}

void check_files(CheckContext& context, const image::Memory& image) {
  std::string wrong;
  for (const image::MappedFile& file : image.files()) {
    if (context.kept_files != nullptr && context.kept_files->keeps(file.path())) continue;
    const auto change = compares(context.kept_files, file.path()) ? what_changed(file) : std::nullopt;
    if (!change) {
      const bool readable = ::eaccess(file.path().c_str(), file.writable() ? R_OK | W_OK : R_OK) == 0;
      if (!readable) fail_forbidden(file.path(), errno);
      if (compares(context.kept_files, file.path()) && has_been_written(file))
        note_written_since(context.notes, file.path(), file.size());
    } else if (context.options.changed_files == ChangedFiles::Accept && ::access(file.path().c_str(), R_OK) == 0) {
      context.notes.push_back(fmt::format("{}, which the program has mapped; restarted all the same", *change));
    } else {
      wrong += (wrong.empty() ? "" : "; ") + *change;
    }
  }
  if (wrong.empty()) return;
  throw Error(ErrorKind::Failed, fmt::format("files that the program has mapped are not as they were: {}", wrong))
      .advise("Put them back as they were at the checkpoint");
}

// `counted`: the shared memory that the processes before have counted, by its number.
MemoryDemand demand_of(const image::Memory& image, std::set<std::uint32_t>& counted) {
  MemoryDemand demand{.content = image.page_bytes()};
  std::uint64_t huge = 0;
  for (const Area& area : image.areas()) {
    const std::uint64_t bytes = area.end() - area.start();
    demand.address_space += bytes;
    if (area.huge_page_bytes() != 0 && has_page_data(area)) huge += bytes;
    if (!is_private(area)) continue;
    const bool writable = (area.protection() & PROT_WRITE) != 0;
    const bool reserved = writable ? !has_property(area, Area::NO_RESERVE) : has_property(area, Area::RESERVED);
    if (reserved && area.huge_page_bytes() == 0) demand.committed += bytes;
    if (writable && !has_property(area, Area::GROWS_DOWN)) demand.data += bytes;
  }
  for (const image::SharedMemory& shared : image.shared()) {
    if (!shared.reserves() || shared.huge_page_bytes() != 0) continue;
    if (counted.insert(shared.object()).second) demand.committed += shared.size();
  }
  demand.content -= std::min(demand.content, huge);  // which were set aside
  demand.areas = static_cast<std::uint64_t>(image.areas_size());
  return demand;
}

// Documentation/admin-guide/sysctl/vm.rst: mmap_min_addr.
void check_lowest_address(const image::Memory& image) {
  if (image.areas().empty() || ::geteuid() == 0) return;
  const std::uint64_t lowest = std::strtoull(read_file("/proc/sys/vm/mmap_min_addr").c_str(), nullptr, 10);
  if (image.areas(0).start() >= lowest) return;
  throw Error(ErrorKind::Failed,
              fmt::format("the program has memory at {:#x}, which only root may map here", image.areas(0).start()))
      .advise("Lower the sysctl vm.mmap_min_addr");
}

}  // namespace

std::vector<RemoteRange> page_data_ranges(const image::Memory& image) {
  std::vector<RemoteRange> ranges;
  std::vector<RemoteRange> excluded;
  for (const image::AddressRange& range : image.excluded()) excluded.push_back(range_of(range));
  for (const Area& area : image.areas()) {
    if (!has_page_data(area)) continue;
    for (const RemoteRange& part : other_parts(range_of(area), excluded)) ranges.push_back(part);
  }
  return ranges;
}

void check_memory(CheckContext& context, const image::Memory& image, std::uint32_t content_objects,
                  const PageData& pages, std::uint32_t process) {
  validate(image, content_objects);
  const PageLoader loader(pages.reader(), page_data_ranges(image), pages.extents_of(process));
  if (loader.pages() * kPageSize != image.page_bytes()) {
    fail(ErrorKind::Damaged, "the page data has {} bytes instead of {}", loader.pages() * kPageSize,
         image.page_bytes());
  }
  check_files(context, image);
  check_named_huge_files(image);
  check_lowest_address(image);
}

void check_memory_supply(std::span<const image::Memory* const> memories) {
  MemoryDemand all;
  std::set<std::uint32_t> counted;
  for (const image::Memory* const memory : memories) {
    const MemoryDemand demand = demand_of(*memory, counted);
    all.content += demand.content;
    all.committed += std::min(demand.committed, kMostMemory + 1);
    all.address_space = std::max(all.address_space, demand.address_space);
    all.data = std::max(all.data, demand.data);
    all.areas = std::max(all.areas, demand.areas);
    if (all.committed > kMostMemory)
      fail(ErrorKind::Damaged, "the image holds {} bytes of memory, which no machine has", all.committed);
  }
  check_supply(all, memory_supply());
}

void check_huge_pages(std::span<const image::Memory* const> memories, const image::Descriptors& descriptors,
                      HugeMemory demand) {
  std::set<std::uint32_t> counted;
  for (const image::Memory* const memory : memories) add_huge_pages(*memory, counted, demand);
  add_huge_files(memories, descriptors, demand);
  check_huge_supply(demand);
}

}  // namespace crs::engine
