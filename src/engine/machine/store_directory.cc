// The place where snapshots are kept.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "engine/machine/machine.h"
#include "engine/machine/trial.h"

namespace crs::engine {
namespace {

// The nearest directory above that is there: the store creates the rest when it is first needed.
std::filesystem::path existing_part(std::filesystem::path directory) {
  std::error_code problem;
  while (!std::filesystem::exists(directory, problem) && directory.has_parent_path() &&
         directory != directory.parent_path()) {
    directory = directory.parent_path();
  }
  return directory;
}

MachineFact free_space(const std::filesystem::path& directory) {
  constexpr std::uint64_t kLittle = std::uint64_t{256} << 20;
  struct statvfs system{};
  if (::statvfs(directory.c_str(), &system) != 0) {
    return {.name = "free space",
            .available = false,
            .essential = false,
            .detail = words_of_trial(errno),
            .consequence = {}};
  }
  const std::uint64_t bytes = std::uint64_t{system.f_bavail} * system.f_frsize;
  return {.name = "free space",
          .available = bytes >= kLittle,
          .essential = false,
          .detail = fmt::format("{} MiB in {}", bytes >> 20, directory.native()),
          .consequence =
              "a snapshot needs about as much as the memory of the program; choose another place with --store or "
              "$CRS_STORE"};
}

MachineFact size_of_files() {
  rlimit limit{};
  const bool is_limited = ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return {.name = "file size limit",
          .available = !is_limited,
          .essential = false,
          .detail = is_limited ? fmt::format("{} MiB", limit.rlim_cur >> 20) : "none",
          .consequence = "no file of a snapshot can be larger; raise it with ulimit -f"};
}

MachineFact unnamed_files(const std::filesystem::path& directory) {
  const FileDescriptor file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  return {.name = "O_TMPFILE in the store",
          .available = static_cast<bool>(file),
          .essential = false,
          .detail = file ? "" : words_of_trial(errno),
          .consequence = "the file system of the store has no unnamed files: temporary ones with names are used"};
}

}  // namespace

std::vector<MachineFact> examine_store_directory(const std::filesystem::path& directory) {
  const std::filesystem::path existing = existing_part(std::filesystem::absolute(directory));
  const int result = errno_of(::faccessat(AT_FDCWD, existing.c_str(), W_OK | X_OK, AT_EACCESS));
  return {{.name = "store",
           .available = result == 0,
           .essential = true,
           .detail = directory.native() + (result == 0 ? "" : ": " + words_of_trial(result)),
           .consequence = "snapshots cannot be written there; choose another place with --store or $CRS_STORE"},
          free_space(existing),
          size_of_files(),
          unnamed_files(existing)};
}

}  // namespace crs::engine
