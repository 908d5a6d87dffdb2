#include "engine/resources/descriptors/huge_files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/memory/huge_pages.h"

namespace crs::engine {
namespace {

// Touching a page that cannot be had would end the newborn (SIGBUS, mmap(2)); fallocate(2) says so.
void take_huge_page(int file, std::uint64_t offset, std::uint64_t page_bytes, std::string_view what) {
  int problem = 0;
  do {
    problem = ::fallocate(file, 0, static_cast<off_t>(offset), static_cast<off_t>(page_bytes)) == 0 ? 0 : errno;
  } while (problem == EINTR);
  if (problem == 0) return;
  Error error =
      Error::from_errno(fmt::format("cannot take a huge page of {} KiB for {}", page_bytes / 1024, what), problem);
  if (problem == ENOSPC || problem == ENOMEM) error.advise(advice_on_huge_pages(page_bytes));
  throw error;
}

// A page of the file, there and mapped.
class MappedHugePage {
 public:
  MappedHugePage(int file, std::uint64_t offset, std::uint64_t page_bytes, std::string_view what)
      : offset_(offset), bytes_(page_bytes) {
    take_huge_page(file, offset, page_bytes, what);
    place_ =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, static_cast<off_t>(offset));
    if (place_ == MAP_FAILED) fail_errno(errno, "cannot map a huge page of {}", what);
  }
  ~MappedHugePage() { ::munmap(place_, bytes_); }
  MappedHugePage(const MappedHugePage&) = delete;
  MappedHugePage& operator=(const MappedHugePage&) = delete;

  // What of the page lies at start to end in the file.
  std::span<std::byte> part(std::uint64_t start, std::uint64_t end) const {
    return std::span(static_cast<std::byte*>(place_), bytes_).subspan(start - offset_, end - start);
  }

 private:
  std::uint64_t offset_;
  std::uint64_t bytes_;
  void* place_ = MAP_FAILED;
};

}  // namespace

std::uint64_t huge_page_bytes_of(int descriptor) {
  struct statfs file_system{};
  if (::fstatfs(descriptor, &file_system) != 0) fail_errno(errno, "cannot look at a file");
  const bool is_huge = static_cast<std::uint64_t>(file_system.f_type) == HUGETLBFS_MAGIC;
  return is_huge ? static_cast<std::uint64_t>(file_system.f_bsize) : 0;
}

void check_huge_file(const image::ContentObject& object) {
  const std::uint64_t page_bytes = object.huge_page_bytes();
  if (page_bytes == 0) return;
  const bool can_lie_there =
      object.origin() == image::ContentObject::MEMFD || object.origin() == image::ContentObject::UNLINKED;
  if (!is_huge_page_size(page_bytes) || !can_lie_there || object.executed() || object.size() % page_bytes != 0)
    fail(ErrorKind::Damaged, "the snapshot has a file of huge pages that cannot be");
}

FileDescriptor make_huge_unlinked(const image::ContentObject& object, std::uint32_t flags,
                                  std::vector<std::string>& notes) {
  const std::filesystem::path path = object.name();
  FileDescriptor made(::open(path.parent_path().c_str(), static_cast<int>(flags | O_TMPFILE | O_CLOEXEC), 0600));
  if (made && huge_page_bytes_of(made.get()) == object.huge_page_bytes()) return made;
  if ((flags & O_TMPFILE & ~O_DIRECTORY) != 0) {
    throw Error(ErrorKind::Failed,
                fmt::format("cannot make a file of huge pages of {} KiB without a name (O_TMPFILE) in {}",
                            object.huge_page_bytes() / 1024, path.parent_path().string()))
        .advise("Mount a hugetlbfs of such pages there");
  }
  notes.push_back(
      fmt::format("{}, an unlinked file of huge pages, is a memory file now: no hugetlbfs of such pages is "
                  "there that this user may write to",
                  object.name()));
  return make_memory_file(path.filename().string(), object.huge_page_bytes());
}

void unpack_huge_content(int from, int to, const image::ContentObject& object, std::string_view what) {
  const std::uint64_t page_bytes = object.huge_page_bytes();
  if (::ftruncate(to, static_cast<off_t>(object.size())) != 0)
    fail_errno(errno, "cannot give {} its size of {} bytes", what, object.size());
  std::uint64_t packed = 0;
  for (const image::ContentObject::Extent& extent : object.data()) {
    const std::uint64_t end = extent.offset() + extent.bytes();
    for (std::uint64_t position = extent.offset(); position < end;) {
      const std::uint64_t page = position / page_bytes * page_bytes;
      const std::uint64_t part_end = std::min(end, page + page_bytes);
      const MappedHugePage mapped(to, page, page_bytes, what);
      pread_exact(from, what, mapped.part(position, part_end), packed);
      packed += part_end - position;
      position = part_end;
    }
  }
}

}  // namespace crs::engine
