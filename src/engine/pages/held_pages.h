// Pages that were read while the program stood still and are written when it runs again. They need memory of this
// process, so their number is limited.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

#include "engine/pages/page_batches.h"
#include "engine/pages/page_saver.h"

namespace crs::engine {

class HeldPages {
 public:
  // Room for `capacity` bytes, which costs its memory at once, so that the program does not wait for that later.
  explicit HeldPages(std::size_t capacity);
  ~HeldPages();
  HeldPages(const HeldPages&) = delete;
  HeldPages& operator=(const HeldPages&) = delete;

  // Reads the batch if there is room for it. May be called by several threads at once.
  bool hold(const RemoteMemory& source, const Batch& batch);
  // Appends all to `writer`.
  SavedPages write(ExtentWriter& writer);

 private:
  struct Held {
    Batch batch;
    std::span<std::byte> bytes;
  };

  std::size_t capacity_;
  std::byte* memory_ = nullptr;
  std::mutex mutex_;
  std::size_t used_ = 0;
  std::vector<Held> held_;
};

}  // namespace crs::engine
