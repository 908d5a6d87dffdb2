#include "engine/resources/descriptors/files/identity.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "base/file_birth.h"
#include "engine/procfs/other_names.h"
#include "engine/resources/descriptors/files/permissions.h"

namespace crs::engine {
namespace {

// Files of the process's own in /proc follow it when its id changes.
std::string portable_path(const std::string& link, pid_t pid, pid_t own_pid) {
  for (const pid_t id : {pid, own_pid}) {
    const std::string own = fmt::format("/proc/{}/", id);
    if (link.starts_with(own)) return "/proc/self/" + link.substr(own.size());
    // With a last part: /proc/self alone is a symbolic link, which O_PATH | O_NOFOLLOW would open itself.
    if (link == fmt::format("/proc/{}", id)) return "/proc/self/.";
  }
  return link;
}

// What stands below an id in /proc, of any process but the holder: a restart opens it before the other members of the
// snapshot are there, and knows nothing of processes outside, whose ids may be others' by then, or nobody's in a
// private namespace.
bool is_of_other_process(std::string_view path) {
  constexpr std::string_view kProcesses = "/proc/";
  return path.starts_with(kProcesses) && path.size() > kProcesses.size() &&
         std::isdigit(static_cast<unsigned char>(path[kProcesses.size()])) != 0;
}

bool same_content(const image::FileIdentity& file, const struct stat& now) {
  return file.size() == static_cast<std::uint64_t>(now.st_size) && file.modified_seconds() == now.st_mtim.tv_sec &&
         static_cast<long>(file.modified_nanoseconds()) == now.st_mtim.tv_nsec;
}

// What is named after a descriptor of the process, which has none before its numbers are placed.
bool is_about_descriptor(std::string_view path) {
  return path.starts_with("/proc/self/fd/") || path.starts_with("/proc/self/fdinfo/");
}

bool descends_from(const TableCapture& table, std::uint32_t process, std::uint32_t ancestor) {
  while (process > ancestor) process = table.processes[process].parent;
  return process == ancestor;
}

bool is_inherited(const TableCapture& table, const Seen& seen, Opener opener) {
  const std::uint32_t holder = seen.first_process();
  return opener == Opener::Root || std::ranges::all_of(seen.numbers, [&](const SeenNumber& number) {
           return number.process == holder ||
                  (opener == Opener::Holder && descends_from(table, number.process, holder));
         });
}

constexpr std::string_view kAdvice = "Put the file back as it was, or accept changed files with --files accept";

}  // namespace

bool is_generated(int descriptor) {
  constexpr std::array<std::uint64_t, 6> kTypes{PROC_SUPER_MAGIC,   SYSFS_MAGIC,   CGROUP2_SUPER_MAGIC,
                                                CGROUP_SUPER_MAGIC, TRACEFS_MAGIC, DEBUGFS_MAGIC};
  struct statfs file_system{};
  if (::fstatfs(descriptor, &file_system) != 0) return false;
  return std::ranges::find(kTypes, static_cast<std::uint64_t>(file_system.f_type)) != kTypes.end();
}

Reach reach_of(const Seen& seen) {
  struct stat found{};
  if (::lstat(seen.link.c_str(), &found) == 0) {
    const bool same = found.st_dev == seen.status.st_dev && found.st_ino == seen.status.st_ino;
    // The kernel may give a generated file a new inode each time it is looked up.
    if (same || (seen.status.st_nlink > 0 && is_generated(seen.copy.get()))) return Reach::ByPath;
  }
  return seen.status.st_nlink == 0 || seen.link.ends_with(kDeleted) ? Reach::Gone : Reach::Elsewhere;
}

bool is_stream_out_of_reach(const Seen& seen) {
  const bool is_stream = !seen.numbers.empty() && seen.first() <= STDERR_FILENO;
  if (!is_stream || !S_ISREG(seen.status.st_mode) || seen.is_path_only()) return false;
  const Reach reach = reach_of(seen);
  if (reach == Reach::Gone) return !content_can_be_read(seen.copy.get());
  return reach == Reach::Elsewhere || !may_be_opened(seen);
}

bool is_own_in_proc(const TableCapture& table, const Seen& seen) {
  const CapturedProcess& holder = table.holder(seen);
  return portable_path(seen.link, holder.pid, holder.own_pid).starts_with("/proc/self/");
}

Opener opener_of(const image::FileIdentity& file) {
  if (!file.path().starts_with("/proc/self/")) return Opener::Root;
  return is_about_descriptor(file.path()) ? Opener::Each : Opener::Holder;
}

void identify(TableCapture& table, const Seen& seen, image::FileIdentity& file) {
  const CapturedProcess& holder = table.holder(seen);
  file.set_path(portable_path(seen.link, holder.pid, holder.own_pid));
  if (file.path().starts_with("/proc/self/task/"))
    table.refuse(seen, fmt::format("{}, a file of one thread", seen.link));
  if (is_of_other_process(file.path()))
    table.refuse(seen, fmt::format("{}, a file of another process or thread", seen.link));
  if (!is_inherited(table, seen, opener_of(file)))
    table.refuse(seen, fmt::format("{}, which another process has as well that could not inherit it", seen.link));
  file.set_device(seen.status.st_dev);
  file.set_inode(seen.status.st_ino);
  file.set_born(file_birth(seen.copy.get(), "", AT_EMPTY_PATH));
  file.set_size(static_cast<std::uint64_t>(seen.status.st_size));
  file.set_modified_seconds(seen.status.st_mtim.tv_sec);
  file.set_modified_nanoseconds(static_cast<std::uint32_t>(seen.status.st_mtim.tv_nsec));
  file.set_generated(!seen.is_path_only() && is_generated(seen.copy.get()));
}

void check_identity(const image::FileIdentity& file) {
  checked_path(file.path());
  if (file.size() > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    fail(ErrorKind::Damaged, "the snapshot gives {} a size that cannot be", file.path());
  }
}

void compare_file(const image::FileIdentity& file, const struct stat& now, bool written, const RestartOptions& options,
                  std::vector<std::string>* notes) {
  if (!S_ISREG(now.st_mode)) {
    throw Error(ErrorKind::Failed, fmt::format("{} was a regular file at the checkpoint and is none now", file.path()))
        .advise("Put the file back as it was");
  }
  if (file.generated() || same_content(file, now)) return;
  const auto size = static_cast<std::uint64_t>(now.st_size);
  const bool replaced = !is_same_file({.inode = file.inode(), .born = file.born()},
                                      {.inode = now.st_ino, .born = file_birth(AT_FDCWD, file.path().c_str(), 0)});
  std::string change;
  if (size < file.size()) {
    change = fmt::format("{} is shorter than at the checkpoint ({} bytes, was {})", file.path(), size, file.size());
  } else if (replaced) {
    change = fmt::format("{} has been replaced by another file since the checkpoint ({} bytes, was {})", file.path(),
                         size, file.size());
  } else if (!written) {
    change = fmt::format("{}, which the program reads, has been changed since the checkpoint ({} bytes, was {})",
                         file.path(), size, file.size());
  } else {
    return;  // the program itself went on writing: grown files are cut back when all else is done
  }
  if (options.changed_files != ChangedFiles::Accept)
    throw Error(ErrorKind::Failed, change).advise(std::string(kAdvice));
  if (notes != nullptr) notes->push_back(change + "; accepted");
}

}  // namespace crs::engine
