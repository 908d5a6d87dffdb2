// Memory that begins on a page boundary, as direct I/O wants it (open(2), O_DIRECT).
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace crs {

class PageBuffer {
 public:
  static constexpr std::align_val_t kAlignment{4096};

  PageBuffer() = default;
  explicit PageBuffer(std::size_t size) { reserve(size); }

  // At least `size` bytes; what was in it is lost if it grows.
  void reserve(std::size_t size) {
    if (size <= size_) return;
    memory_.reset();
    memory_.reset(static_cast<std::byte*>(::operator new(size, kAlignment)));
    size_ = size;
  }
  std::span<std::byte> first(std::size_t size) const { return {memory_.get(), size}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
};

}  // namespace crs
