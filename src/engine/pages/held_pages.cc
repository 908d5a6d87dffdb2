#include "engine/pages/held_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/error.h"
#include "base/parallel.h"

namespace crs::engine {
namespace {

// For what is not known before: shared memory, and what the program writes until it stands still.
constexpr std::size_t kLeast = std::size_t{4} << 20;

// Batches as they are written: neighbours in extents as large as they may be, for each write costs some 100 us.
using Group = std::span<HeldPages::Held>;

std::vector<Group> grouped(std::span<HeldPages::Held> batches) {
  std::vector<Group> groups;
  for (std::size_t begin = 0, end = 0; begin < batches.size(); begin = end) {
    std::uint64_t bytes = 0;
    for (; end < batches.size() && (end == begin || bytes + batches[end].bytes.size() <= kPagePayload); ++end)
      bytes += batches[end].bytes.size();
    groups.push_back(batches.subspan(begin, end - begin));
  }
  return groups;
}

// The content of the batches is changed.
SavedPages append(Group group, ExtentWriter& writer, std::uint32_t process) {
  SavedPages saved;
  PageRuns runs;
  std::size_t bytes = 0;
  for (const HeldPages::Held& held : group) bytes += held.bytes.size();
  const PageBuffer together(group.size() == 1 ? 0 : bytes);  // not larger: the kernel clears it
  const std::span<std::byte> place = group.size() == 1 ? group.front().bytes : together.first(bytes);
  std::size_t used = 0;
  for (const HeldPages::Held& held : group) {
    const PageRuns kept = drop_needless(held.batch.like, held.batch.runs, held.bytes);
    const std::uint64_t kept_bytes = total_bytes(kept);
    if (group.size() > 1) std::ranges::copy(held.bytes.first(kept_bytes), place.subspan(used).begin());
    for (const RemoteRange& run : kept) append_run(runs, run);
    used += kept_bytes;
    saved.pages += kept_bytes / kPageSize;
    saved.zero_pages += (held.bytes.size() - kept_bytes) / kPageSize;
  }
  if (used > 0) writer.append(place.first(used), encode_runs(runs, process));
  return saved;
}

}  // namespace

HeldMemory::HeldMemory(std::size_t most) : most_(most) {
  try {
    memory_.reserve(most);
  } catch (const std::bad_alloc&) {
    throw Error::from_errno(fmt::format("cannot get {} bytes of memory for pages", most), ENOMEM)
        .advise("Raise the limits of crs (ulimit -d, ulimit -v), or end other programs");
  }
}

void HeldMemory::expect(std::uint64_t bytes) {
  expected_ += std::min<std::uint64_t>(bytes, most_);
  const std::size_t wanted =
      std::min<std::size_t>(std::max<std::uint64_t>(expected_, kLeast), most_) / kPageSize * kPageSize;
  if (wanted <= there_) return;
  // madvise(2), MADV_POPULATE_WRITE: what it cannot do is done at the first touch.
  ::madvise(memory_.first(wanted).subspan(there_).data(), wanted - there_, MADV_POPULATE_WRITE);
  there_ = wanted;
}

std::span<std::byte> HeldMemory::take(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (bytes > most_ - used_) return {};
  used_ += bytes;
  return memory_.first(used_).last(bytes);
}

bool HeldPages::hold(const RemoteMemory& source, const Batch& batch) {
  const std::span<std::byte> place = memory_.take(total_bytes(batch.runs));
  if (place.empty()) return false;
  {
    const std::scoped_lock lock(mutex_);
    held_.push_back({batch, place});
  }
  read_batch(source, batch, place);
  return true;
}

SavedPages HeldPages::write(ExtentWriter& writer, std::uint32_t process) {
  std::ranges::sort(held_, {}, [](const Held& held) { return held.batch.runs.front().start; });
  const std::vector<Group> groups = grouped(held_);
  SavedPages saved;
  if (groups.empty()) return saved;
  for_each_in_parallel(
      groups.size(),
      [&](std::size_t number) {
        const SavedPages appended = append(groups[number], writer, process);
        const std::scoped_lock lock(mutex_);
        saved += appended;
      },
      std::min<unsigned>(threads_for_disk(), static_cast<unsigned>(groups.size())));
  held_.clear();
  return saved;
}

}  // namespace crs::engine
