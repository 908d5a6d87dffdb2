#include "engine/pages/held_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace crs::engine {
namespace {

// For what is not known before: shared memory, and what the program writes until it stands still.
constexpr std::size_t kLeast = std::size_t{4} << 20;

}  // namespace

HeldMemory::HeldMemory(std::size_t most) : most_(most) {
  if (most == 0) return;
  void* const memory =
      ::mmap(nullptr, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error::from_errno(fmt::format("cannot get {} bytes of memory for pages", most), errno)
        .advise("Raise the limits of crs (ulimit -d, ulimit -v), or end other programs");
  }
  memory_ = static_cast<std::byte*>(memory);
}

HeldMemory::~HeldMemory() {
  if (memory_ != nullptr) ::munmap(memory_, most_);
}

void HeldMemory::expect(std::uint64_t bytes) {
  expected_ += std::min<std::uint64_t>(bytes, most_);
  const std::size_t wanted =
      std::min<std::size_t>(std::max<std::uint64_t>(expected_ * 2, kLeast), most_) / kPageSize * kPageSize;
  if (wanted <= there_) return;
  // madvise(2), MADV_POPULATE_WRITE: what it cannot do is done at the first touch.
  ::madvise(memory_ + there_, wanted - there_, MADV_POPULATE_WRITE);
  there_ = wanted;
}

std::span<std::byte> HeldMemory::take(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (bytes > there_ - used_) return {};
  used_ += bytes;
  return {memory_ + used_ - bytes, bytes};
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
  SavedPages saved;
  for (const Held& held : held_) saved += append_batch(held.batch, held.bytes, writer, process);
  held_.clear();
  return saved;
}

}  // namespace crs::engine
