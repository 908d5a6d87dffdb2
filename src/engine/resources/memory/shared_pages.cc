#include "engine/resources/memory/shared_pages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/error.h"
#include "base/file_descriptor.h"

namespace crs::engine {
namespace {

// lseek(2) on the object itself: exact, swapped pages included. Needs CAP_CHECKPOINT_RESTORE in the initial user
// namespace (proc_pid_map_files(5)); nothing without it.
std::optional<PageRuns> by_seeking(pid_t pid, RemoteRange area, std::uint64_t offset) {
  const std::string path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, area.start.value, area.end.value);
  const FileDescriptor object(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!object) return std::nullopt;
  PageRuns runs;
  const std::uint64_t end = offset + area.size();
  for (std::uint64_t position = offset; position < end;) {
    const off_t data = ::lseek(object.get(), static_cast<off_t>(position), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return std::nullopt;
    const off_t hole = ::lseek(object.get(), data, SEEK_HOLE);
    if (hole < 0) return std::nullopt;
    const std::uint64_t first = std::min(static_cast<std::uint64_t>(data), end);
    const std::uint64_t last = std::min(static_cast<std::uint64_t>(hole), end);
    if (first < last) append_run(runs, {area.start + (first - offset), area.start + (last - offset)});
    position = static_cast<std::uint64_t>(hole);
  }
  return runs;
}

PageRuns by_asking(RemoteCaller& remote, RemoteRange area) {
  PageRuns runs;
  std::array<std::uint8_t, RemoteCaller::kScratchSize> resident;
  for (RemoteAddress position = area.start; position < area.end;) {
    const std::uint64_t pages = std::min<std::uint64_t>(resident.size(), (area.end - position) / kPageSize);
    remote.call("mincore", SYS_mincore, position, pages * kPageSize, remote.scratch());
    remote.memory().read(remote.scratch(), std::as_writable_bytes(std::span(resident).first(pages)));
    for (std::uint64_t page = 0; page < pages; ++page, position = position + kPageSize) {
      if ((resident[page] & 1) != 0) append_run(runs, {position, position + kPageSize});
    }
  }
  return runs;
}

}  // namespace

PageRuns existing_shared_pages(pid_t pid, RemoteCaller& remote, RemoteRange area, std::uint64_t offset, bool swapped) {
  if (auto runs = by_seeking(pid, area, offset)) return *std::move(runs);
  // mincore(2) calls a swapped page not resident.
  if (swapped) return {area};
  return by_asking(remote, area);
}

}  // namespace crs::engine
