#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"
#include "engine/resources/memory/exclusion.h"
#include "engine/resources/memory/file_identity.h"
#include "engine/resources/memory/future_locks.h"
#include "engine/resources/memory/guard_pages.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/memory/layout.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/restart_needs.h"
#include "engine/resources/memory/shared_objects.h"
#include "engine/resources/memory/shared_pages.h"
#include "engine/resources/memory/shared_size.h"
#include "engine/resources/memory/shared_view.h"
#include "engine/resources/memory/survey.h"

namespace crs::engine {
namespace {

using image::Area;

constexpr std::string_view kHuge = "ht";  // in VmFlags

bool is_kernel_part(const MappedArea& area) { return area.name == "[vdso]" || area.name.starts_with("[vvar"); }

// The inode of a System V segment is its id, and the first one of a system has id 0.
bool is_backed(const MapsLine& line) { return line.inode != 0 || line.name.starts_with('/'); }

// What an area is that cannot be kept, by its flags alone; or nothing.
std::optional<std::pair<std::string_view, std::string_view>> refused_by_flags(const MappedArea& area) {
  constexpr std::array<std::array<std::string_view, 3>, 7> kRefused{{
      {"ss", "a shadow stack", "Start the program without GLIBC_TUNABLES=glibc.cpu.x86_shstk=on"},
      {"um", "registered with a userfaultfd", "Only the program itself knows what belongs there"},
      {"uw", "registered with a userfaultfd", "Only the program itself knows what belongs there"},
      {"ui", "registered with a userfaultfd", "Only the program itself knows what belongs there"},
      {"io", "memory of a device", "Let the program release the device first"},
      {"pf", "memory of a device or of the kernel", "Let the program release it first"},
      {"mm", "memory of a device", "Let the program release the device first"},
  }};
  for (const auto& [flag, what, advice] : kRefused) {
    if (area.has(flag)) return std::pair(what, advice);
  }
  return std::nullopt;
}

class MemoryCapture {
 public:
  MemoryCapture(CaptureContext& context, std::vector<MappedArea> areas, image::Memory& image)
      : context_(context),
        areas_(std::move(areas)),
        image_(image),
        pagemap_(context.pid),
        excluded_(whole_pages_of(context.options.exclude)) {}

  std::vector<PageArea> run() {
    check_excluded();
    capture_executable();  // before its areas, whose content it may be
    for (const MappedArea& area : areas_) capture(area);
    if (std::ranges::any_of(areas_, [](const MappedArea& area) { return area.has(kHuge) && !area.shared; }))
      forbid_fork();
    read_below_guards();
    complete_shared();
    std::ranges::sort(pages_, {}, [](const PageArea& pages) { return pages.range.start; });
    image_.mutable_kernel()->set_code(kernel_code());
    if (!context_.only_looks) capture_layout(context_.pid, context_.remote, *image_.mutable_layout());
    const bool locks = std::ranges::any_of(areas_, [](const MappedArea& area) { return area.has("lo"); });
    if (locks && !context_.only_looks) image_.set_future_locks(future_locks(context_.pid, context_.remote));
    return std::move(pages_);
  }

  Backings& backings() { return objects().backings(); }

 private:
  void check_excluded() {
    ExclusionCheck check(excluded_);
    if (!excluded_.empty()) {
      for (const MappedArea& area : areas_) check.area(area, obstacle_to_exclusion(area));
    }
    check.finish();
    for (const RemoteRange& range : excluded_) {
      image::AddressRange& left_out = *image_.add_excluded();
      left_out.set_start(range.start.value);
      left_out.set_end(range.end.value);
    }
  }

  // Why what lies there cannot read as zero after a restart; empty if it can.
  std::string obstacle_to_exclusion(const MappedArea& area) {
    if (area.name == "[stack]" || area.has("gd")) return "a stack";
    if (is_kernel_part(area) || area.name == "[vsyscall]") return "the kernel's: " + area.name;
    if (area.has(kHuge)) return "memory of huge pages";
    if (refused_by_flags(area)) return std::string(refused_by_flags(area)->first);
    if (!is_backed(area))
      return area.name.starts_with("anon_inode:") || area.name.starts_with("socket:") ? area.name : "";
    const BackingKind kind = backings().of(area).kind;
    if (kind == BackingKind::ZeroDevice || kind == BackingKind::SharedZero) return {};
    return "a mapping of " + area.name;
  }

  void capture(const MappedArea& area) {
    if (area.name == "[vsyscall]") return;
    if (is_kernel_part(area)) {
      image::KernelAreas::Part& part = *image_.mutable_kernel()->add_parts();
      part.set_name(area.name);
      part.set_start(area.range.start.value);
      part.set_end(area.range.end.value);
    } else if (const auto refused = refused_by_flags(area)) {
      refuse(area, refused->first, refused->second);
    } else if (is_anonymous_huge(area)) {
      area.shared ? capture_shared_memory(area) : save_own_pages(area, add(area, Area::ANONYMOUS));
    } else if (is_backed(area)) {
      capture_backed(area);
    } else if (area.name.starts_with("anon_inode:") || area.name.starts_with("socket:")) {
      refuse(area, area.name, "Let the program close it first");
    } else {
      save_own_pages(area, add(area, Area::ANONYMOUS));
    }
  }

  void capture_backed(const MappedArea& area) {
    const Backing& backing = backings().of(area);
    const bool is_file = backing.kind == BackingKind::File || backing.kind == BackingKind::Gone;
    if (is_file && area.shared && !objects().agree(area, backing.kind == BackingKind::File)) {
      return refuse(area, fmt::format("{}, which another area shows under a name in another directory", area.name),
                    "Let the program map it again by the name that it has now");
    }
    switch (backing.kind) {
      case BackingKind::File:
        return capture_file(area, backing.path);
      case BackingKind::Gone:
        return area.shared ? capture_content(area) : capture_private_content(area);
      case BackingKind::ZeroDevice:
        return save_own_pages(area, add(area, Area::ANONYMOUS));
      case BackingKind::SharedZero:
      case BackingKind::SystemV:
        return capture_shared_memory(area);
      case BackingKind::AsynchronousIo:
        return capture_context(area);
      case BackingKind::Unsupported:
        return refuse(area, backing.path, "Let the program release it first");
    }
  }

  // Disks mostly answer in milliseconds. Who only looks waits for none that is slow.
  void capture_context(const MappedArea& area) {
    const std::chrono::milliseconds patience{context_.content.keeps() ? 1000 : 5};
    image::AsynchronousIo& context = *image_.add_asynchronous_io();
    const AsynchronousIoState state = capture_asynchronous_io(context_.remote, area.range, patience, context);
    constexpr std::string_view kWhat = "the ring of an asynchronous I/O context (io_setup)";
    if (!state.obstacle.empty())
      return refuse(area, fmt::format("{}, {}", kWhat, state.obstacle), "Let the program end it (io_destroy)");
    if (state.under_way > 0) {
      return refuse(area, fmt::format("{} with {} request(s) under way", kWhat, state.under_way),
                    "Try again when they have been answered");
    }
    Area& entry = add(area, Area::ASYNCHRONOUS_IO);
    entry.set_backing(static_cast<std::uint32_t>(image_.asynchronous_io_size() - 1));
  }

  void capture_file(const MappedArea& area, const std::string& path) {
    Area& entry = add(area, area.shared ? Area::SHARED_FILE : Area::PRIVATE_FILE);
    entry.set_backing(file_index(path));
    entry.set_offset(area.offset);
    image::MappedFile& file = *image_.mutable_files(static_cast<int>(entry.backing()));
    if (area.has(kHuge) && area.offset + area.range.size() > file.size()) return refuse_long_view(area);
    if (area.shared) {
      record_guards(area);
      file.set_shared_areas(true);
      if (area.has("mw")) file.set_writable(true);
    } else {
      file.set_private_areas(true);
      save_written_pages(area);
    }
  }

  void save_written_pages(const MappedArea& area) {
    PageArea pages{.range = area.range, .content = {}};
    pages.readable = (area.protection & PROT_READ) != 0;
    pages.starts_zero = false;
    pages.copied_on_write = area.is_copied_on_write();
    pages.in_fork = is_in_fork(area);
    pages_.push_back(pages);
  }

  // A private mapping of a file that no path leads to.
  void capture_private_content(const MappedArea& area) {
    std::vector<MappedPiece> pieces;
    if (!context_.objects.find(area.device, area.inode)) pieces = pieces_of(area);
    if (pieces.empty() && area.has(kHuge)) pieces.push_back(piece_of(area));
    const auto object =
        context_.objects.keep_whole(context_, area.device, area.inode, area.name, pieces, piece_of(area));
    if (!object) return area.has(kHuge) ? refuse_lost_huge(area) : capture_lost_file(area);
    Area& entry = add(area, Area::PRIVATE_CONTENT);
    entry.set_backing(*object);
    entry.set_offset(area.offset);
    save_written_pages(area);
  }

  // Nothing else leads to the file either: from now on anonymous memory with the same content.
  void capture_lost_file(const MappedArea& area) {
    Area& entry = add(area, Area::ANONYMOUS);
    entry.set_former_file(area.name);
    record_guards(area);
    pages_.push_back({.range = area.range, .choice = PageChoice::All, .in_fork = is_in_fork(area), .content = {}});
  }

  void capture_content(const MappedArea& area) {
    record_guards(area);
    std::vector<MappedPiece> pieces;
    if (!context_.objects.find(area.device, area.inode)) pieces = pieces_of(area);
    const auto object =
        context_.objects.keep_mapped(context_, area.device, area.inode, area.name, pieces, piece_of(area));
    if (!object) return;  // refused there
    Area& entry = add(area, Area::SHARED_CONTENT);
    entry.set_backing(*object);
    entry.set_offset(area.offset);
  }

  // Private areas of the file do not tell what is in it.
  std::vector<MappedPiece> pieces_of(const MappedArea& area) const {
    std::vector<MappedPiece> pieces;
    for (const MappedArea& other : areas_) {
      if (!other.shared || other.device != area.device || other.inode != area.inode) continue;
      pieces.push_back(piece_of(other));
    }
    return pieces;
  }

  MappedPiece piece_of(const MappedArea& area) const {
    return {.start = area.range.start,
            .end = area.range.end,
            .file_offset = area.offset,
            .guarded = !guards_in(pagemap_, area.range).empty(),
            .huge_page_bytes = area.has(kHuge) ? area.page_bytes : 0};
  }

  // Of an area whose pages PageChoice::Own does not look at.
  PageRuns record_guards(const MappedArea& area) { return record_guards(area.range); }

  PageRuns record_guards(RemoteRange range_of_area) {
    PageRuns guards = guards_in(pagemap_, range_of_area);
    for (const RemoteRange& guard : guards) {
      image::AddressRange& range = *image_.add_guards();
      range.set_start(guard.start.value);
      range.set_end(guard.end.value);
    }
    return guards;
  }

  void capture_shared_memory(const MappedArea& area) {
    const auto [known, is_new] =
        shared_.try_emplace(SharedObjects::key_of(area), static_cast<std::uint32_t>(image_.shared_size()));
    SharedObjects::Object& object = objects().of(area);
    if (is_new) exclude_shared(area, object);
    image::SharedMemory& memory =
        is_new ? *image_.add_shared() : *image_.mutable_shared(static_cast<int>(known->second));
    memory.set_object(object.number);
    object.views.push_back({context_.pid, known->second, area, area.has("lo"), area.has("sl")});
    if (is_segment(area)) memory.set_segment(static_cast<std::int32_t>(area.inode));
    Area& entry = add(area, Area::SHARED_MEMORY);
    entry.set_backing(known->second);
    entry.set_offset(area.offset);
    memory.set_size(std::max(memory.size(), area.offset + area.range.size()));
    if (!area.has("nr")) memory.set_reserves(true);
    if (area.has(kHuge)) memory.set_huge_page_bytes(area.page_bytes);
    if (area.has(kHuge) && memory.has_segment()) return;  // whose content capture_system_v() keeps
    if (area.has(kHuge)) return capture_shared_huge(area, object);
    save_existing_pages(area, object);
  }

  void save_existing_pages(const MappedArea& area, SharedObjects::Object& object) {
    const PageRuns guards = record_guards(area);
    const bool readable = (area.protection & PROT_READ) != 0;
    for (const RemoteRange& run :
         existing_shared_pages(context_.pid, context_.remote, area.range, area.offset, area.swapped_bytes > 0)) {
      for (const RemoteRange& seen : other_parts(run, guards)) {
        for (const RemoteRange& part : object.take_unsaved(seen, area)) {
          pages_.push_back({.range = part, .choice = PageChoice::Existing, .readable = readable, .content = {}});
        }
      }
      for (const RemoteRange& part : common_parts(run, guards)) covered_.push_back({&area, part});
    }
  }

  // Each process tells of those that it has touched; of others, capture_unmapped().
  void capture_shared_huge(const MappedArea& area, SharedObjects::Object& object) {
    object.size = area.range.size();  // what nobody maps of it nobody can map again
    if (!object.huge)
      object.huge = {.reserved = !area.has("nr"), .existing = existing_huge_bytes(context_.pid, area.range)};
    const auto is_alike = [&](const SharedObjects::View& view) {
      const bool is_same = view.pid == context_.pid && view.area.range.start == area.range.start;
      return view.area.offset == 0 && view.area.range.size() == area.range.size() &&
             (is_same || view.pid != context_.pid);
    };
    if (!std::ranges::all_of(object.views, is_alike)) {
      return refuse(area, "shared memory of huge pages of which processes map different parts, or one more than once",
                    "Let each map all of it, once");
    }
    const bool readable = (area.protection & PROT_READ) != 0;
    for (const RemoteRange& run : touched_huge_pages(context_.pid, area)) {
      for (const RemoteRange& part : object.take_unsaved(run, area))
        pages_.push_back({.range = part, .choice = PageChoice::Existing, .readable = readable, .content = {}});
    }
  }

  // A page that a child has as well is copied when the program writes to it, and there may be no other huge page.
  void forbid_fork() {
    for (PageArea& area : pages_) area.in_fork = false;
  }

  // What is left out counts as saved, through whichever area of that memory it is seen.
  void exclude_shared(const MappedArea& area, SharedObjects::Object& object) const {
    for (const MappedArea& other : areas_) {
      if (!other.shared || other.device != area.device || other.inode != area.inode) continue;
      for (const RemoteRange& part : common_parts(other.range, excluded_)) object.take_unsaved(part, other);
    }
  }

  // What guard pages cover and no other area shows.
  void read_below_guards() {
    for (const Covered& covered : covered_) {
      for (const RemoteRange& part : objects().of(*covered.area).take_unsaved(covered.part, *covered.area)) {
        const SharedView view(context_.remote, covered.area->range);
        std::vector<std::byte> content(part.size());
        context_.memory.read_protected(view.of(part.start), content);
        pages_.push_back({.range = part,
                          .choice = PageChoice::Given,
                          .content = std::make_shared<const std::vector<std::byte>>(std::move(content))});
      }
    }
  }

  // It may be larger than what is mapped of it.
  void complete_shared() {
    SharedSizes sizes(context_);
    for (const auto& [key, index] : shared_) {
      image::SharedMemory& memory = *image_.mutable_shared(static_cast<int>(index));
      if (memory.has_segment() || memory.huge_page_bytes() != 0) continue;
      memory.set_size(std::max(memory.size(), sizes.of(objects().of(key))));
    }
  }

  static bool is_in_fork(const MappedArea& area) { return !area.has("dc") && !area.has("wf"); }

  void save_own_pages(const MappedArea& area, const Area& entry) {
    // What the kernel may drop at any time is dropped now: vgetrandom(2) states must not run twice from one snapshot.
    if (has_property(entry, Area::DROPPABLE)) return;
    for (const RemoteRange& part : other_parts(area.range, excluded_))
      pages_.push_back({.range = part,
                        .readable = (area.protection & PROT_READ) != 0,
                        .copied_on_write = area.is_copied_on_write(),
                        .in_fork = is_in_fork(area),
                        .content = {}});
    for (const RemoteRange& part : common_parts(area.range, excluded_)) record_guards(part);
  }

  Area& add(const MappedArea& area, Area::Kind kind) {
    Area& entry = *image_.add_areas();
    entry.set_start(area.range.start.value);
    entry.set_end(area.range.end.value);
    entry.set_kind(kind);
    entry.set_protection(static_cast<std::uint32_t>(area.protection));
    entry.set_protection_key(area.protection_key);
    if (area.has(kHuge)) entry.set_huge_page_bytes(area.page_bytes);
    capture_properties(area, entry);
    for (const std::string_view prefix : {"[anon:", "[anon_shmem:"}) {
      if (area.name.starts_with(prefix) && area.name.ends_with(']')) {
        entry.set_name(area.name.substr(prefix.size(), area.name.size() - prefix.size() - 1));
      }
    }
    return entry;
  }

  std::uint32_t file_index(const std::string& path) {
    const auto [known, is_new] = files_.try_emplace(path, static_cast<std::uint32_t>(image_.files_size()));
    if (is_new) {
      const std::optional<image::MappedFile>& file = backings().record_of(path);
      if (!file) fail(ErrorKind::Failed, "{} disappeared just now", path);
      *image_.add_files() = *file;
    }
    return known->second;
  }

  std::string kernel_code() const {
    std::string code;
    for (const image::KernelAreas::Part& part : image_.kernel().parts()) {
      if (part.name() != "[vdso]") continue;
      code.resize(part.end() - part.start());
      context_.memory.read({part.start()}, std::as_writable_bytes(std::span(code)));
    }
    return code;
  }

  void capture_executable() {
    const std::string link = fmt::format("/proc/{}/exe", context_.pid);
    const std::string path = read_link(link);
    struct stat running{};
    struct stat found{};
    const bool reached = ::stat(link.c_str(), &running) == 0 && ::stat(path.c_str(), &found) == 0 &&
                         running.st_dev == found.st_dev && running.st_ino == found.st_ino;
    if (reached) {
      image_.mutable_layout()->set_executable(path);
      file_index(path);
    } else if (const auto object = context_.objects.keep_executable(context_)) {
      image_.mutable_layout()->set_executable_object(*object);
      if (is_memfd_path(path)) return;  // which keeps its name
      context_.warnings.push_back(
          fmt::format("the executable {} is gone; the program keeps it, but /proc/PID/exe will "
                      "have another name after a restart",
                      path));
    } else {
      context_.warnings.push_back(fmt::format(
          "the executable {} is gone; the program keeps its code, but /proc/PID/exe will not show it after a restart",
          path));
    }
  }

  // Mapping it so again would make the file longer (hugetlbfs_file_mmap() in the kernel's fs/hugetlbfs/inode.c).
  void refuse_long_view(const MappedArea& area) {
    refuse(area, fmt::format("a view of more than there is of {}, a file of huge pages (hugetlbfs)", area.name),
           "Let the program make the file as long as what it maps of it (ftruncate(2))");
  }

  // Where it has written nothing it shows the file, and reading what is not there of that takes a huge page.
  void refuse_lost_huge(const MappedArea& area) {
    refuse(area,
           fmt::format("a private mapping of {}, a file of huge pages (hugetlbfs) that is not open and that this user "
                       "cannot look at",
                       area.name),
           "Take the snapshot with CAP_CHECKPOINT_RESTORE, or let the program keep the file open");
  }

  void refuse(const MappedArea& area, std::string_view what, std::string_view advice) {
    context_.refusals.add(fmt::format("the memory at {:#x}-{:#x} of process {} is {}", area.range.start.value,
                                      area.range.end.value, context_.own_pid, what),
                          std::string(advice));
  }

  SharedObjects& objects() { return context_.shared != nullptr ? *context_.shared : own_objects_; }

  CaptureContext& context_;
  const std::vector<MappedArea> areas_;
  image::Memory& image_;
  Pagemap pagemap_;
  const PageRuns excluded_;
  std::vector<PageArea> pages_;
  struct Covered {
    const MappedArea* area;
    RemoteRange part;
  };
  std::vector<Covered> covered_;  // existing pages of shared memory below guard pages
  std::map<std::string, std::uint32_t> files_;
  std::map<SharedObjects::Key, std::uint32_t> shared_;
  SharedObjects own_objects_;
};

}  // namespace

std::vector<PageArea> capture_memory(CaptureContext& context, MemorySurvey& survey, image::Memory& image) {
  if (context.memory_of) {
    image.set_same_as(*context.memory_of);
    return {};
  }
  MemoryCapture capture(context, current_areas(context.pid, survey), image);
  std::vector<PageArea> pages = capture.run();
  look_for_room(context, image);
  look_at_permissions(context, image, capture.backings());
  return pages;
}

std::vector<PageArea> areas_to_copy_ahead(const MemorySurvey& survey, const std::vector<MemoryRange>& exclude) {
  const PageRuns excluded = whole_pages_of(exclude);
  std::vector<PageArea> areas;
  RemoteAddress end;  // areas that grew while they were read may stand there twice (proc_pid_maps(5) is no snapshot)
  const auto has_userfault = [](const MappedArea& area) { return area.has("um") || area.has("uw") || area.has("ui"); };
  if (std::ranges::any_of(survey.areas, has_userfault)) return areas;
  for (const MappedArea& area : survey.areas) {
    if (area.shared || !area.permits(PROT_READ) || area.has("dp") || is_kernel_part(area) || refused_by_flags(area))
      continue;
    if (area.has(kHuge)) continue;
    if (area.name == "[vsyscall]" || area.name.ends_with(kDeleted)) continue;
    const RemoteRange range{std::max(area.range.start, end), area.range.end};
    if (range.start >= range.end) continue;
    end = range.end;
    for (const RemoteRange& part : other_parts(range, excluded))
      areas.push_back({.range = part,
                       .starts_zero = !is_backed(area),
                       .copied_on_write = area.is_copied_on_write(),
                       .content = {}});
  }
  return areas;
}

void record_pages(const SavedPages& saved, image::Memory& image) {
  image.set_page_bytes(saved.pages * kPageSize);
  for (const RemoteRange& guard : saved.guards) {
    image::AddressRange& range = *image.add_guards();
    range.set_start(guard.start.value);
    range.set_end(guard.end.value);
  }
  std::ranges::sort(*image.mutable_guards(), {}, &image::AddressRange::start);
}

}  // namespace crs::engine
