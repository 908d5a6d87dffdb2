#include "base/file_birth.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace crs {

std::int64_t file_birth(int directory, const char* path, int flags) {
  constexpr std::int64_t kNanoseconds = 1000000000;
  struct statx status{};
  if (::statx(directory, path, flags, STATX_BTIME, &status) != 0) return 0;
  if ((status.stx_mask & STATX_BTIME) == 0) return 0;
  return status.stx_btime.tv_sec * kNanoseconds + status.stx_btime.tv_nsec;
}

bool is_same_file(FileIncarnation one, FileIncarnation other) {
  return one.inode == other.inode && (one.born == 0 || other.born == 0 || one.born == other.born);
}

}  // namespace crs
