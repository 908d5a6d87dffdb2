#include "engine/pages/held_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/error.h"

namespace crs::engine {
namespace {

// For what is not known before: shared memory, and what the program writes until it stands still.
constexpr std::size_t kLeast = std::size_t{4} << 20;

// Batches, of which many are small, in extents as large as they may be: each write costs some 100 us.
class Gathered {
 public:
  Gathered(ExtentWriter& writer, std::uint32_t process) : writer_(writer), process_(process), buffer_(kPagePayload) {}

  // Batches ascend. `bytes` is changed.
  SavedPages add(const Batch& batch, std::span<std::byte> bytes) {
    const PageRuns kept = drop_needless(batch.like, batch.runs, bytes);
    const std::uint64_t kept_bytes = total_bytes(kept);
    if (used_ + kept_bytes > kPagePayload) flush();
    std::ranges::copy(bytes.first(kept_bytes), buffer_.first(used_ + kept_bytes).subspan(used_).begin());
    for (const RemoteRange& run : kept) append_run(runs_, run);
    used_ += kept_bytes;
    return {kept_bytes / kPageSize, (bytes.size() - kept_bytes) / kPageSize, {}};
  }

  void flush() {
    if (used_ > 0) writer_.append(buffer_.first(used_), encode_runs(runs_, process_));
    runs_.clear();
    used_ = 0;
  }

 private:
  ExtentWriter& writer_;
  std::uint32_t process_;
  PageBuffer buffer_;
  PageRuns runs_;
  std::size_t used_ = 0;
};

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
      std::min<std::size_t>(std::max<std::uint64_t>(expected_ * 2, kLeast), most_) / kPageSize * kPageSize;
  if (wanted <= there_) return;
  // madvise(2), MADV_POPULATE_WRITE: what it cannot do is done at the first touch.
  ::madvise(memory_.first(wanted).subspan(there_).data(), wanted - there_, MADV_POPULATE_WRITE);
  there_ = wanted;
}

std::span<std::byte> HeldMemory::take(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (bytes > there_ - used_) return {};
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
  SavedPages saved;
  Gathered gathered(writer, process);
  for (const Held& held : held_) saved += gathered.add(held.batch, held.bytes);
  gathered.flush();
  held_.clear();
  return saved;
}

}  // namespace crs::engine
