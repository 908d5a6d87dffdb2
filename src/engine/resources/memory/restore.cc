// From outside: the areas of the newborn, their content and their settings.
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/page_loader.h"
#include "engine/pages/write_tracker.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/area_settings.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"
#include "engine/resources/memory/future_locks.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/memory/kernel_areas.h"
#include "engine/resources/memory/layout.h"
#include "engine/resources/memory/lazy_pages.h"
#include "engine/resources/memory/mapping_descriptors.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/page_data.h"
#include "engine/resources/memory/read_only_segments.h"

namespace crs::engine {
namespace {

using image::Area;

// Less is there sooner than the process that would bring it.
constexpr std::uint64_t kWorthWaiting = std::uint64_t{2} << 20;
// Less is written again as quickly as it is looked at.
constexpr std::uint64_t kWorthTracking = std::uint64_t{4} << 20;
constexpr std::uint64_t kSmallestTracked = std::uint64_t{128} << 10;

constexpr std::string_view kTooFewHugePages = "There may be too few free huge pages: see /proc/meminfo";

constexpr int kMapDroppable = 0x08;  // MAP_DROPPABLE: Linux 6.11

std::vector<RemoteRange> ranges_of(const image::Memory& image) {
  std::vector<RemoteRange> ranges;
  for (const Area& area : image.areas()) ranges.push_back(range_of(area));
  return ranges;
}

std::vector<MapsLine> own_kernel_areas(pid_t pid) {
  std::vector<MapsLine> areas = read_maps(pid);
  std::erase_if(areas, [](const MapsLine& area) { return area.name != "[vdso]" && !area.name.starts_with("[vvar"); });
  return areas;
}

// Of its remote caller, and of those of other processes that have this memory.
std::vector<RemoteRange> homes_in(const RestoreContext& context) {
  std::vector<RemoteRange> homes = context.homes_beside;
  homes.push_back(context.reserved);
  return homes;
}

// Everything but its kernel areas and what remote callers need.
void unmap_everything(RestoreContext& context, const std::vector<MapsLine>& kept) {
  std::vector<RemoteRange> taken = homes_in(context);
  taken.push_back(context.inherited);
  for (const MapsLine& area : kept) taken.push_back(area.range);
  for (const RemoteRange& range : free_ranges(taken)) {
    context.remote.call("munmap", SYS_munmap, range.start, range.size());
  }
}

// mprotect(2) has divided it from its neighbours. The kernel joins them again, once they have the same protection, only
// if they were one when their first page came (anon_vma in mm/vma.c), and mremap(2), say, takes one area alone.
bool was_divided(const Area& area) { return area.kind() == Area::ANONYMOUS && has_property(area, Area::RESERVED); }

// Whatever is filled must be writable until it is; what was one area is mapped as one.
int first_protection(const Area& area, bool filled) {
  const bool made_writable = area.kind() == Area::SHARED_MEMORY || area.kind() == Area::ASYNCHRONOUS_IO;
  if (made_writable || was_divided(area)) return PROT_READ | PROT_WRITE;
  return static_cast<int>(area.protection()) | (filled ? PROT_READ | PROT_WRITE : 0);
}

template <typename Action>
auto of_area(const Area& area, const Action& action) {
  return in_context(fmt::format("the memory at {:#x}", area.start()), action);
}

class AreaMapper {
 public:
  // `filled`: of each area, whether there is page data for it.
  AreaMapper(RestoreContext& context, const image::Memory& image, const SharedPlaces& shared, int first_number,
             const std::vector<bool>& filled)
      : context_(context),
        remote_(context.remote),
        image_(image),
        shared_(shared),
        first_number_(first_number),
        filled_(filled) {}

  // All that can be at once. Each that could not be is tried by itself then, which finds another way or says why.
  void map_all() {
    std::vector<std::vector<const Area*>> views(static_cast<std::size_t>(image_.shared_size()));
    std::vector<std::size_t> mapped;
    std::vector<RemoteCaller::StoringCall> calls;
    for (std::size_t i = 0; i < filled_.size(); ++i) {
      const Area& area = image_.areas(static_cast<int>(i));
      if (area.kind() == Area::SHARED_MEMORY) {
        views[area.backing()].push_back(&area);
        continue;
      }
      mapped.push_back(i);
      calls.push_back(of_area(area, [&] { return call_for(area, mapping_of(area, filled_[i])); }));
    }
    const auto results = remote_.call_all("mmap", calls, RemoteCaller::Answer::OfThread);
    for (std::size_t k = 0; k < mapped.size(); ++k) {
      const Area& area = image_.areas(static_cast<int>(mapped[k]));
      const std::int64_t result = RemoteCaller::returned(results[k]);
      if (static_cast<std::uint64_t>(result) == area.start()) continue;
      of_area(area, [&] { map_otherwise(area, filled_[mapped[k]], static_cast<int>(-result)); });
    }
    map_shared_memory(views);
    for (const Area& area : image_.areas()) {
      if (area.kind() != Area::ASYNCHRONOUS_IO) continue;
      of_area(area, [&] {
        restore_asynchronous_io(remote_, area, image_.asynchronous_io(static_cast<int>(area.backing())));
      });
    }
  }

 private:
  struct Mapping {
    int protection;
    int flags;
    int descriptor = -1;
  };

  Mapping mapping_of(const Area& area, bool filled) const {
    const int protection = first_protection(area, filled);
    switch (area.kind()) {
      case Area::ANONYMOUS:
        if (has_property(area, Area::DROPPABLE)) return {protection, kMapDroppable | MAP_ANONYMOUS};
        return {protection, MAP_PRIVATE | MAP_ANONYMOUS | huge_page_flags(area.huge_page_bytes())};
      case Area::PRIVATE_FILE:
        return {protection, MAP_PRIVATE, readable_file_number(first_number_, area.backing())};
      case Area::SHARED_FILE:
        return {protection, MAP_SHARED, shared_file_number(area)};
      case Area::SHARED_CONTENT:
        return {protection, MAP_SHARED, content_number(area)};
      case Area::PRIVATE_CONTENT:
        return {protection, MAP_PRIVATE, content_object_descriptor(context_.first_private_descriptor, area.backing())};
      case Area::ASYNCHRONOUS_IO:  // keeps the place free
        return {PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE};
      default:
        fail(ErrorKind::Damaged, "its kind is unknown");
    }
  }

  static RemoteCaller::StoringCall call_for(const Area& area, const Mapping& mapping) {
    int flags = mapping.flags | MAP_FIXED_NOREPLACE;
    if (has_property(area, Area::NO_RESERVE)) flags |= MAP_NORESERVE;
    if (has_property(area, Area::GROWS_DOWN)) flags |= MAP_GROWSDOWN;
    const std::uint64_t offset = mapping.descriptor < 0 ? 0 : area.offset();
    return {SYS_mmap,
            {area.start(), range_of(area).size(), static_cast<std::uint64_t>(mapping.protection),
             static_cast<std::uint64_t>(flags), static_cast<std::uint64_t>(mapping.descriptor), offset},
            RemoteCaller::kReturned};
  }

  // Its mapping_of() has failed with errno `problem`.
  void map_otherwise(const Area& area, bool filled, int problem) {
    if (area.kind() == Area::ANONYMOUS) {
      Mapping mapping{first_protection(area, filled),
                      MAP_PRIVATE | MAP_ANONYMOUS | huge_page_flags(area.huge_page_bytes())};
      if (has_property(area, Area::DROPPABLE)) {
        problem = try_map(area, mapping);
        if (problem == 0) return;
      }
      // Writable memory counts against RLIMIT_DATA.
      mapping.protection = static_cast<int>(area.protection());
      if (was_divided(area) && !filled && try_map(area, mapping) == 0) return;
    }
    Error error = Error::from_errno("mmap", problem);
    if (problem == ENOMEM && area.huge_page_bytes() != 0) {
      error.advise(std::string(kTooFewHugePages));
    } else if (problem == ENOMEM && area.kind() == Area::ANONYMOUS) {
      error.advise("Raise the limits of memory (ulimit -d, ulimit -v)");
    }
    throw error;
  }

  // Returns 0 or the errno.
  int try_map(const Area& area, const Mapping& mapping) {
    const RemoteCaller::StoringCall call = call_for(area, mapping);
    const std::int64_t result = remote_.raw_call(call.number, call.arguments);
    return static_cast<std::uint64_t>(result) == area.start() ? 0 : static_cast<int>(-result);
  }

  int shared_file_number(const Area& area) const {
    const bool for_writing =
        image_.files(static_cast<int>(area.backing())).writable() && !has_property(area, Area::NEVER_WRITABLE);
    return for_writing ? writable_file_number(image_, first_number_, area.backing())
                       : readable_file_number(first_number_, area.backing());
  }

  int content_number(const Area& area) const {
    return has_property(area, Area::NEVER_WRITABLE)
               ? read_only_content_number(image_, first_number_, area.backing())
               : content_object_descriptor(context_.first_private_descriptor, area.backing());
  }

  // What other processes have, too, is there already. Each other object is made by the area that shows all of it. Where
  // there is none, at a spare place, where it does not stay.
  void map_shared_memory(const std::vector<std::vector<const Area*>>& views) {
    std::uint64_t largest = 0;
    for (std::size_t i = 0; i < views.size(); ++i) {
      const image::SharedMemory& memory = image_.shared(static_cast<int>(i));
      if (!shared_.find(memory) && whole_view(memory, views[i]) == nullptr) largest = std::max(largest, memory.size());
    }
    const RemoteAddress spare = largest > 0 ? spare_place(largest) : RemoteAddress{};
    for (std::size_t i = 0; i < views.size(); ++i) {
      const image::SharedMemory& memory = image_.shared(static_cast<int>(i));
      const auto inherited = shared_.find(memory);
      if (inherited && memory.has_segment() && memory.huge_page_bytes() != 0) {
        for (const Area* const view : views[i]) attach_huge(memory, *view);
      } else if (inherited) {
        for (const Area* const view : views[i]) map_inherited(*inherited, *view);
      } else {
        map_views(memory, views[i], spare);
      }
    }
    if (context_.inherited.size() > 0)
      remote_.call("munmap", SYS_munmap, context_.inherited.start, context_.inherited.size());
  }

  static const Area* whole_view(const image::SharedMemory& memory, const std::vector<const Area*>& views) {
    const auto found = std::ranges::find(views, memory.size(), [](const Area* view) { return range_of(*view).size(); });
    return found == views.end() ? nullptr : *found;
  }

  RemoteAddress spare_place(std::uint64_t bytes) const {
    std::vector<RemoteRange> taken = occupied_ranges(image_);
    std::ranges::copy(homes_in(context_), std::back_inserter(taken));
    taken.push_back(context_.inherited);
    for (const MapsLine& line : own_kernel_areas(context_.pid)) taken.push_back(line.range);
    const auto place = find_free(taken, bytes, RemoteAddress{std::uint64_t{1} << 32});
    if (!place) fail(ErrorKind::Failed, "there is no room for {} bytes of shared memory in the address space", bytes);
    return *place;
  }

  // With an old size of 0, mremap(2) makes a second mapping of the same pages.
  void map_view(RemoteAddress memory, const Area& view) {
    remote_.call("mremap of shared memory", SYS_mremap, memory + view.offset(), 0, range_of(view).size(),
                 MREMAP_MAYMOVE | MREMAP_FIXED, view.start());
  }

  // There can be no second mapping of huge pages. Each process has an inherited one of its own, and one view.
  void map_inherited(RemoteAddress memory, const Area& view) {
    if (view.huge_page_bytes() == 0) return map_view(memory, view);
    const std::uint64_t bytes = range_of(view).size();
    remote_.call("mremap of shared huge pages", SYS_mremap, memory, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                 view.start());
  }

  // One by one, at a spare place, from which the part that is seen moves.
  void attach_huge(const image::SharedMemory& memory, const Area& view) {
    const std::uint64_t page_bytes = memory.huge_page_bytes();
    const std::uint64_t bytes = shared_.size_of(memory);
    const std::uint64_t room = spare_place(bytes + page_bytes).value;
    const RemoteAddress spare{(room + page_bytes - 1) / page_bytes * page_bytes};
    const int flags = has_property(view, Area::NEVER_WRITABLE) ? SHM_RDONLY : 0;
    remote_.call("shmat of huge pages", SYS_shmat, memory.segment(), spare, flags);
    remote_.call("mremap of huge pages", SYS_mremap, spare + view.offset(), range_of(view).size(),
                 range_of(view).size(), MREMAP_MAYMOVE | MREMAP_FIXED, view.start());
    remote_.call("munmap", SYS_munmap, spare, bytes);
  }

  void map_views(const image::SharedMemory& memory, const std::vector<const Area*>& views, RemoteAddress spare) {
    const Area* const whole = whole_view(memory, views);
    const RemoteAddress made = whole != nullptr ? RemoteAddress{whole->start()} : spare;
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (memory.reserves() ? 0 : MAP_NORESERVE) |
                      huge_page_flags(memory.huge_page_bytes());
    remote_.call("mmap of shared memory", SYS_mmap, made, memory.size(), PROT_READ | PROT_WRITE, flags, -1, 0);
    for (const Area* view : views) {
      if (view != whole) map_view(made, *view);
    }
    if (whole == nullptr) remote_.call("munmap", SYS_munmap, made, memory.size());
  }

  RestoreContext& context_;
  RemoteCaller& remote_;
  const image::Memory& image_;
  const SharedPlaces& shared_;
  int first_number_;
  const std::vector<bool>& filled_;
};

}  // namespace

MemoryRestore::MemoryRestore(RestoreContext& context, const image::Memory& image, const PageData& pages,
                             const SharedPlaces& shared, int first_number)
    : context_(context),
      image_(image),
      shared_(shared),
      first_number_(first_number),
      page_data_(pages.reader().descriptors()),
      loader_(pages.reader(), page_data_ranges(image), pages.extents_of(context.process)),
      filled_(loader_.touched(ranges_of(image))),
      settings_(std::make_unique<AreaSettings>(context)) {}

MemoryRestore::~MemoryRestore() = default;

void MemoryRestore::map_areas() {
  const std::vector<MapsLine> kernel_areas = own_kernel_areas(context_.pid);
  unmap_everything(context_, kernel_areas);
  std::vector<RemoteRange> occupied = occupied_ranges(image_);
  if (context_.inherited.size() > 0) occupied.push_back(context_.inherited);
  restore_kernel_areas(context_.remote, image_.kernel(), kernel_areas, std::move(occupied), homes_in(context_));
  AreaMapper(context_, image_, shared_, first_number_, filled_).map_all();
  settings_->advise(image_);
}

void MemoryRestore::load_pages() {
  try {
    loader_.load(context_.memory);
  } catch (Error& error) {
    const bool is_huge = std::ranges::any_of(image_.areas(), &Area::huge_page_bytes);
    if (is_huge && error.error_number() == EFAULT) error.advise(std::string(kTooFewHugePages));
    throw;
  }
}

void MemoryRestore::load_pages_lazily(std::span<const pid_t> members, const LazyStart& start) {
  const std::string obstacle = obstacle_to_lazy_pages();
  if (!obstacle.empty()) {
    const std::string note = fmt::format("all memory was loaded before the program began: {}", obstacle);
    if (std::ranges::find(context_.notes, note) == context_.notes.end()) context_.notes.push_back(note);
    return load_pages();
  }
  const LazyPages lazy = choose_lazy_pages(image_, loader_);
  if (lazy.bytes < kWorthWaiting) return load_pages();
  loader_.load(context_.memory, lazy.others);
  start_pager(context_, lazy, loader_, page_data_, members, start);
}

std::unique_ptr<WriteTracker> MemoryRestore::track_writes() {
  if (image_.page_bytes() < kWorthTracking || image_.asynchronous_io_size() > 0) return nullptr;
  try {
    auto tracker = std::make_unique<WriteTracker>(context_.pid, userfault_of(context_, kTrackerFlags));
    for (std::size_t i = 0; i < filled_.size(); ++i) {
      const Area& area = image_.areas(static_cast<int>(i));
      const bool is_large = range_of(area).size() >= kSmallestTracked;
      if (area.kind() != Area::ANONYMOUS || area.huge_page_bytes() != 0 || !filled_[i] || !is_large) continue;
      if (tracker->track(range_of(area))) tracker->arm(range_of(area));
    }
    return tracker;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return nullptr;
  }
}

void MemoryRestore::finish() {
  for (const Area* area : attach_segments_read_only(context_, image_)) settings_->advise(*area);
  std::vector<bool> changed;
  for (std::size_t i = 0; i < filled_.size(); ++i) {
    const Area& area = image_.areas(static_cast<int>(i));
    changed.push_back(first_protection(area, filled_[i]) != static_cast<int>(area.protection()));
  }
  settings_->finish(image_, changed);
  unmap_what_was_not_mapped();
  set_layout();
  if (image_.future_locks() != 0) {
    if (const int problem = restore_future_locks(context_.remote, image_.future_locks())) {
      context_.notes.push_back(
          fmt::format("memory that the program maps from now on is not locked (mlockall: {}); see ulimit -l",
                      ::strerrordesc_np(problem)));
    }
  }
  if (const int count = memory_descriptors_needed(image_)) {
    context_.remote.call("close_range", SYS_close_range, first_number_, first_number_ + count - 1, 0);
  }
}

void MemoryRestore::take_out_of_merging() {
  for (const Area& area : image_.areas()) {
    // What could not be merged in the first place refuses it, and is none the worse.
    if (!has_property(area, Area::MERGEABLE))
      context_.remote.raw_call(SYS_madvise, {area.start(), area.end() - area.start(), MADV_UNMERGEABLE});
  }
}

void MemoryRestore::unmap_what_was_not_mapped() {
  for (const Area& area : image_.areas()) {
    if (has_property(area, Area::NOT_MAPPED))
      context_.remote.call("munmap", SYS_munmap, area.start(), range_of(area).size());
  }
}

// The descriptor of the program's executable in the newborn, or -1 if the link need not or cannot be set.
int MemoryRestore::executable_to_set() const {
  const std::string& executable = image_.layout().executable();
  if (image_.layout().has_executable_object())
    return content_object_descriptor(context_.first_private_descriptor, image_.layout().executable_object());
  const auto file = std::ranges::find(image_.files(), executable, &image::MappedFile::path);
  if (executable.empty() || file == image_.files().end()) return -1;
  if (read_link(fmt::format("/proc/{}/exe", context_.pid)) == executable) return -1;
  return readable_file_number(first_number_, static_cast<std::uint32_t>(file - image_.files().begin()));
}

void MemoryRestore::set_layout() {
  const image::Layout& layout = image_.layout();
  const int executable = executable_to_set();
  int problem = restore_layout(context_.remote, layout, executable);
  if (problem != 0 && executable >= 0) {
    context_.notes.push_back(
        fmt::format("/proc/PID/exe does not show {}: {}",
                    layout.has_executable_object() ? "the executable, which was unlinked" : layout.executable(),
                    ::strerrordesc_np(problem)));
    problem = restore_layout(context_.remote, layout, -1);
  }
  if (problem != 0) fail_errno(problem, "cannot set the bookkeeping of the program's memory (PR_SET_MM_MAP)");
}

}  // namespace crs::engine
