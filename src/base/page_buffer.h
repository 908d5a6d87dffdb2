// Memory for direct I/O (open(2), O_DIRECT), in huge pages where the system has them: the kernel takes a piece of 2 MiB
// for a transfer at once instead of 512 times one page.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace crs {

class FreeAligned {
 public:
  explicit FreeAligned(std::size_t alignment = 1) : alignment_(alignment) {}
  void operator()(std::byte* memory) const { ::operator delete(memory, std::align_val_t(alignment_)); }

 private:
  std::size_t alignment_;
};

class PageBuffer {
 public:
  PageBuffer() = default;
  explicit PageBuffer(std::size_t size) { reserve(size); }

  // At least `size` bytes; what was in it is lost if it grows.
  void reserve(std::size_t size) {
    if (size <= size_) return;
    memory_.reset();
    const bool is_large = size >= kHugePage;
    const std::size_t alignment = is_large ? kHugePage : kPage;
    memory_ = {static_cast<std::byte*>(::operator new(size, std::align_val_t(alignment))), FreeAligned(alignment)};
    size_ = size;
    if (is_large) ::madvise(memory_.get(), size / kHugePage * kHugePage, MADV_HUGEPAGE);
  }
  std::span<std::byte> first(std::size_t size) const { return {memory_.get(), size}; }

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  std::unique_ptr<std::byte, FreeAligned> memory_;
  std::size_t size_ = 0;
};

}  // namespace crs
