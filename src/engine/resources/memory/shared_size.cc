#include "engine/resources/memory/shared_size.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "engine/resources/memory/shared_view.h"

namespace crs::engine {
namespace {

using View = SharedObjects::View;

constexpr std::uint64_t kWindowSize = 2 * kPageSize;

std::optional<std::uint64_t> size_by_asking(pid_t pid, RemoteRange area) {
  const std::string path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, area.start.value, area.end.value);
  const FileDescriptor object(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!object || ::fstat(object.get(), &status) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

// Of which there can be another view; one of locked memory would be filled and locked. Null if there is none.
const View* highest_free(const SharedObjects::Object& object) {
  const View* highest = nullptr;
  for (const View& view : object.views) {
    if (!view.locked && !view.sealed && (highest == nullptr || highest->end() < view.end())) highest = &view;
  }
  return highest;
}

}  // namespace

void refuse_unmapped(CaptureContext& context, const View& view) {
  context.refusals.add(
      fmt::format("process {} has unmapped part of the shared memory at {:#x}, and what that holds cannot be read: the "
                  "program could not map it again (RLIMIT_AS, mseal(2))",
                  context.own_pid, view.area.range.start.value),
      fmt::format("Raise its limit (prlimit --pid {} --as=unlimited), or let it map all of that memory", context.pid));
}

namespace {

// Almost nobody has unmapped any of it, but that cannot be seen.
void refuse_unseen(CaptureContext& context, const View& view) {
  context.refusals.add(
      fmt::format(
          "whether there is more of the shared memory at {:#x} than process {} maps cannot be seen: the program "
          "cannot map two more pages (RLIMIT_AS, vm.max_map_count)",
          view.area.range.start.value, context.own_pid),
      fmt::format("Raise its limit (prlimit --pid {} --as=unlimited), or take the snapshot with CAP_CHECKPOINT_RESTORE",
                  context.pid));
}

}  // namespace

SharedSizes::~SharedSizes() {
  if (!window_) return;
  try {
    context_.remote.call("munmap", SYS_munmap, *window_, kWindowSize);
  } catch (const Error&) {  // the program is gone
  }
}

std::uint64_t SharedSizes::of(SharedObjects::Object& object) {
  if (object.size) return *object.size;
  const auto asked = size_by_asking(context_.pid, object.lowest().area.range);
  std::uint64_t mapped_end = 0;
  for (const View& view : object.views) mapped_end = std::max(mapped_end, view.end());
  object.size = std::max(mapped_end, asked ? *asked : by_trying(object));
  return *object.size;
}

std::uint64_t SharedSizes::by_trying(const SharedObjects::Object& object) {
  const View* const view = highest_free(object);
  if (view == nullptr) return 0;
  const std::optional<bool> goes_on = goes_on_after(*view);
  if (!goes_on) refuse_unseen(context_, *view);
  if (!goes_on.value_or(false)) return 0;
  std::uint64_t known = view->area.range.size() + kPageSize;  // from the view's start on
  std::uint64_t step = kPageSize;
  unmappable_ = 0;
  for (; reaches(*view, known + step); step *= 2) known += step;
  while (step > kPageSize) {
    step /= 2;
    if (reaches(*view, known + step)) known += step;
  }
  if (unmappable_ == known + kPageSize) refuse_unmapped(context_, *view);
  return view->area.offset + known;
}

// Almost no memory does, and there may be thousands: one call for each, at one place that each mapping takes over from
// the one before.
std::optional<bool> SharedSizes::goes_on_after(const View& view) {
  const auto place = window();
  if (!place) return std::nullopt;
  // With an old size of 0, mremap(2) makes a second mapping of the same pages: the last one, and what follows.
  const std::int64_t made = context_.remote.raw_call(
      SYS_mremap,
      {(view.area.range.end - kPageSize).value, 0, kWindowSize, MREMAP_MAYMOVE | MREMAP_FIXED, place->value, 0});
  if (made == -ENOMEM) return std::nullopt;
  return made == static_cast<std::int64_t>(place->value) && is_readable(*place + kPageSize);
}

bool SharedSizes::reaches(const View& view, std::uint64_t bytes) {
  const RemoteAddress start = view.area.range.start;
  const auto whole = shared_view_or_null(context_.remote, {start, start + bytes});
  if (!whole) unmappable_ = bytes;
  return whole && is_readable(whole->range().end - kPageSize);
}

// Nothing can be read beyond the memory's end (mmap(2), SIGBUS).
bool SharedSizes::is_readable(RemoteAddress address) const {
  try {
    std::array<std::byte, 1> first{};
    context_.memory.read_protected(address, first);
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return false;
  }
}

std::optional<RemoteAddress> SharedSizes::window() {
  if (window_) return window_;
  const std::int64_t place = context_.remote.raw_call(
      SYS_mmap,
      {0, kWindowSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, static_cast<std::uint64_t>(-1), 0});
  if (place >= 0) window_ = RemoteAddress{static_cast<std::uint64_t>(place)};
  return window_;
}

}  // namespace crs::engine
