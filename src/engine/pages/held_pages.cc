#include "engine/pages/held_pages.h"

#include <sys/mman.h>

#include <cerrno>

#include "base/error.h"

namespace crs::engine {

HeldPages::HeldPages(std::size_t capacity) : capacity_(capacity) {
  if (capacity == 0) return;
  void* const memory =
      ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) fail_errno(errno, "cannot get {} bytes of memory for pages", capacity);
  memory_ = static_cast<std::byte*>(memory);
}

HeldPages::~HeldPages() {
  if (memory_ != nullptr) ::munmap(memory_, capacity_);
}

bool HeldPages::hold(const RemoteMemory& source, const Batch& batch) {
  const std::uint64_t bytes = total_bytes(batch.runs);
  std::span<std::byte> place;
  {
    const std::scoped_lock lock(mutex_);
    if (bytes > capacity_ - used_) return false;
    place = {memory_ + used_, bytes};
    used_ += bytes;
    held_.push_back({batch, place});
  }
  read_batch(source, batch, place);
  return true;
}

SavedPages HeldPages::write(ExtentWriter& writer) {
  SavedPages saved;
  for (const Held& held : held_) saved += append_batch(held.batch, held.bytes, writer);
  held_.clear();
  used_ = 0;
  return saved;
}

}  // namespace crs::engine
