#include "engine/resources/memory/unmapped_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/shared_pages.h"
#include "engine/resources/memory/shared_size.h"
#include "engine/resources/memory/shared_view.h"

namespace crs::engine {
namespace {

using View = SharedObjects::View;

// It is read while the program stands still, and held until it can be written.
constexpr std::uint64_t kMostHeld = std::uint64_t{64} << 20;

// What is there of the memory in a view of all of it. Where some of it may be swapped out, mincore(2) does not tell.
PageRuns existing_pages(CaptureContext& context, const MapsLine& view) {
  struct sysinfo system{};
  const bool may_be_swapped = ::sysinfo(&system) != 0 || system.freeswap != system.totalswap;
  return existing_shared_pages(context.pid, context.remote, view.range, view.offset, may_be_swapped);
}

image::Area area_of(RemoteRange range, const View& view, std::uint64_t offset) {
  image::Area area;
  area.set_start(range.start.value);
  area.set_end(range.end.value);
  area.set_kind(image::Area::SHARED_MEMORY);
  area.set_protection(PROT_READ | PROT_WRITE);
  area.set_backing(view.backing);
  area.set_offset(offset);
  area.add_properties(image::Area::NOT_MAPPED);
  return area;
}

PageArea page_area_of(const RemoteMemory& memory, RemoteRange range) {
  auto content = std::make_shared<std::vector<std::byte>>(range.size());
  memory.read_protected(range.start, *content);
  return {.range = range, .choice = PageChoice::Given, .content = std::move(content)};
}

class UnmappedCapture {
 public:
  UnmappedCapture(CaptureContext& context, image::Memory& image) : context_(context), image_(image) {}

  void add(SharedObjects::Object& object) {
    if (object.huge) return add_huge(object);
    const View& lowest = object.lowest();
    const SharedView* const view = view_of(lowest, *object.size - lowest.area.offset);
    if (view == nullptr) return;
    MapsLine seen = lowest.area;
    seen.range = view->range();
    const PageRuns existing = existing_pages(context_, seen);
    for (const auto& [start, end] : object.unmapped()) {
      const RemoteAddress first = seen.range.start + (start - seen.offset);
      const RemoteRange part{first, first + (end - start)};
      if (save(common_parts(part, existing), seen, object)) *image_.add_areas() = area_of(part, lowest, start);
    }
  }

  std::vector<PageArea> pages() { return std::move(pages_); }

 private:
  // What a process that has ended has touched, say. Where no page is reserved, reading one that is not there might take
  // the last that is free from the program.
  void add_huge(SharedObjects::Object& object) {
    const View& view = object.lowest();
    if (!object.huge->reserved) {
      context_.refusals.add(
          fmt::format("which huge pages there are of the memory at {:#x}, which process {} shares without reserving "
                      "them, cannot be seen",
                      view.area.range.start.value, context_.own_pid),
          "Take the snapshot with CAP_CHECKPOINT_RESTORE, or let the program map it without MAP_NORESERVE");
      return;
    }
    const bool readable = view.area.permits(PROT_READ);
    for (const RemoteRange& part : object.take_unsaved(view.area.range, view.area))
      pages_.push_back({.range = part, .choice = PageChoice::All, .readable = readable, .content = {}});
  }

  // Null, and refused, where the program could not have one either.
  const SharedView* view_of(const View& lowest, std::uint64_t bytes) {
    auto view = shared_view_or_null(context_.remote, {lowest.area.range.start, lowest.area.range.start + bytes});
    if (!view) return refuse_unmapped(context_, lowest), nullptr;
    views_.push_back(std::move(view));
    return views_.back().get();
  }

  // Whether there is something that nobody has saved.
  bool save(const PageRuns& runs, const MapsLine& seen, SharedObjects::Object& object) {
    const std::size_t before = pages_.size();
    for (const RemoteRange& run : runs) {
      for (const RemoteRange& unsaved : object.take_unsaved(run, seen)) {
        held_ += unsaved.size();
        if (held_ > kMostHeld) return refuse(object.lowest()), false;
        pages_.push_back(page_area_of(context_.memory, unsaved));
      }
    }
    return pages_.size() != before;
  }

  void refuse(const View& lowest) {
    if (std::exchange(refused_, true)) return;
    context_.refusals.add(
        fmt::format(
            "process {} has unmapped more than {} MiB of shared memory whose beginning it still maps (at {:#x})",
            context_.own_pid, kMostHeld >> 20, lowest.area.range.start.value),
        "Let the program map all of it (mremap(2)), or empty what it has unmapped (MADV_REMOVE, madvise(2))");
  }

  CaptureContext& context_;
  image::Memory& image_;
  std::vector<std::unique_ptr<SharedView>> views_;  // all together: each has addresses of its own
  std::vector<PageArea> pages_;
  std::uint64_t held_ = 0;  // bytes
  bool refused_ = false;
};

}  // namespace

std::vector<PageArea> capture_unmapped(CaptureContext& context, std::span<SharedObjects::Object* const> objects,
                                       image::Memory& image) {
  UnmappedCapture capture(context, image);
  for (SharedObjects::Object* const object : objects) capture.add(*object);
  std::ranges::sort(*image.mutable_areas(), {}, &image::Area::start);
  return capture.pages();
}

}  // namespace crs::engine
