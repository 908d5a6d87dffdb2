// Seeing and rebuilding memory.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "base/file_descriptor.h"
#include "base/io.h"
#include "engine/machine/machine.h"
#include "engine/machine/trial.h"

namespace crs::engine {
namespace {

// Newer than the C library's headers on Debian 12; from linux/fs.h, linux/userfaultfd.h and asm-generic/mman-common.h
// of Linux 6.13.
struct PagemapScan {
  std::uint64_t size, flags, start, end, walk_end, vector, vector_length, max_pages, category_inverted, category_mask,
      category_any_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);
constexpr std::uint64_t kWriteProtectAsync = 1U << 15;
constexpr int kUserModeOnly = 1;
constexpr int kGuardInstall = 102;
constexpr std::size_t kPage = 4096;

int scan_pagemap() {
  const FileDescriptor pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return errno;
  std::array<std::uint64_t, 3> region{};
  const auto here = reinterpret_cast<std::uint64_t>(&region) & ~(kPage - 1);
  PagemapScan request{};
  request.size = sizeof request;
  request.start = here;
  request.end = here + kPage;
  request.vector = reinterpret_cast<std::uint64_t>(region.data());
  request.vector_length = 1;
  request.return_mask = 1U << 3;  // PAGE_IS_PRESENT
  return errno_of(::ioctl(pagemap.get(), kPagemapScan, &request));
}

int track_writes() {
  const FileDescriptor tracker(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | kUserModeOnly)));
  if (!tracker) return errno;
  uffdio_api handshake{};
  handshake.api = UFFD_API;
  handshake.features = kWriteProtectAsync;
  return errno_of(::ioctl(tracker.get(), UFFDIO_API, &handshake));
}

int install_guard() {
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return errno;
  return errno_of(::madvise(page, kPage, kGuardInstall));
}

int set_memory_map() {
  unsigned size = 0;
  // Answers only where the kernel was built with CONFIG_CHECKPOINT_RESTORE (prctl(2), PR_SET_MM_MAP_SIZE).
  return errno_of(::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0));
}

// Bytes of this process's vDSO, from /proc/self/maps; 0 if there is none.
std::size_t vdso_size(std::uint64_t start) {
  std::istringstream maps(read_file("/proc/self/maps"));
  for (std::string line; std::getline(maps, line);) {
    char* stop = nullptr;
    if (std::strtoull(line.c_str(), &stop, 16) == start && *stop == '-')
      return std::strtoull(stop + 1, nullptr, 16) - start;
  }
  return 0;
}

// Moves this process's vDSO, which the kernel allows as a whole only. The child that does so makes system calls only
// and then ends.
int move_vdso() {
  const auto vdso = ::getauxval(AT_SYSINFO_EHDR);
  const std::size_t size = vdso == 0 ? 0 : vdso_size(vdso);
  if (size == 0) return ENOENT;
  void* target = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (target == MAP_FAILED) return errno;
  void* moved = ::mremap(reinterpret_cast<void*>(vdso), size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target);
  return moved == MAP_FAILED ? errno : 0;
}

MachineFact fact(const char* name, bool essential, int (*trial)(), const char* consequence) {
  const int result = try_in_child(trial);
  return {.name = name,
          .available = result == 0,
          .essential = essential,
          .detail = result == 0 ? "" : words_of_trial(result),
          .consequence = consequence};
}

}  // namespace

std::vector<MachineFact> examine_memory_interfaces() {
  return {
      fact("PAGEMAP_SCAN", false, scan_pagemap, "before Linux 6.7 finding the pages to save takes longer"),
      fact("userfaultfd WP_ASYNC", false, track_writes,
           "pages changed since the last snapshot cannot be told from others"),
      fact("MADV_GUARD_INSTALL", false, install_guard, "before Linux 6.13 programs have no such guard pages either"),
      fact("PR_SET_MM_MAP", true, set_memory_map,
           "the kernel was built without CONFIG_CHECKPOINT_RESTORE: a program's heap cannot be put back"),
      fact("movable vDSO", true, move_vdso,
           "the kernel seals its own mappings (CONFIG_MSEAL_SYSTEM_MAPPINGS): no program can be restarted"),
  };
}

}  // namespace crs::engine
