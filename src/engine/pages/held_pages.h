// Pages that were read while the program stood still and are written when it runs again. They need memory of this
// process, so their number is limited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "base/page_buffer.h"
#include "engine/pages/page_batches.h"
#include "engine/pages/page_saver.h"

namespace crs::engine {

// Room for pages, of all processes of a program.
class HeldMemory {
 public:
  // Never holds more than `most` bytes.
  explicit HeldMemory(std::size_t most);

  // So many more are expected. Their memory is there at once, so that the program does not wait for that later.
  void expect(std::uint64_t bytes);
  // For how many there would be room.
  std::uint64_t left() const noexcept { return most_ - used_; }
  // Room for so many; empty if there is none. May be called by several threads at once.
  std::span<std::byte> take(std::size_t bytes);

 private:
  std::size_t most_;
  PageBuffer memory_;  // of which nothing is there at first
  std::uint64_t expected_ = 0;
  std::size_t there_ = 0;
  std::mutex mutex_;
  std::size_t used_ = 0;
};

// Those of one process.
class HeldPages {
 public:
  // `memory` must outlive this.
  explicit HeldPages(HeldMemory& memory) : memory_(memory) {}

  struct Held {
    Batch batch;
    std::span<std::byte> bytes;
  };

  // Reads the batch if there is room for it. May be called by several threads at once.
  bool hold(const RemoteMemory& source, const Batch& batch);
  // Appends all to `writer`, as those of process `process` of the tree.
  SavedPages write(ExtentWriter& writer, std::uint32_t process);

 private:
  HeldMemory& memory_;
  std::mutex mutex_;  // protects what follows while several threads hold
  std::vector<Held> held_;
};

}  // namespace crs::engine
