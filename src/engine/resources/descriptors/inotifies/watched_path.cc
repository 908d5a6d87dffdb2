#include "engine/resources/descriptors/inotifies/watched_path.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/text.h"

namespace crs::engine {
namespace {

constexpr std::size_t kMostEntries = 20'000;

bool is_it(const std::string& path, const WatchedInode& watched) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && status.st_dev == watched.device && status.st_ino == watched.inode;
}

// A mounted file system with this device number (proc_pid_mountinfo(5)).
FileDescriptor open_mount(dev_t device) {
  const std::string wanted = fmt::format("{}:{}", major(device), minor(device));
  std::string path;
  for_each_line(read_file("/proc/self/mountinfo"), [&](std::string_view line) {
    const std::vector<std::string_view> words = words_of(line);
    if (path.empty() && words.size() > 4 && words[2] == wanted) path = words[4];
  });
  return FileDescriptor(path.empty() ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

std::optional<std::string> path_by_handle(const WatchedInode& watched) {
  const std::size_t bytes = watched.handle.size() / 2;
  if (bytes == 0 || bytes > MAX_HANDLE_SZ) return std::nullopt;
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> storage{};
  auto& handle = *reinterpret_cast<file_handle*>(storage.data());
  handle.handle_bytes = static_cast<unsigned>(bytes);
  handle.handle_type = watched.handle_type;
  for (std::size_t i = 0; i < bytes; ++i) {
    const auto byte = parse_number(watched.handle.substr(2 * i, 2), 16);
    if (!byte) return std::nullopt;
    storage.at(offsetof(file_handle, f_handle) + i) = static_cast<char>(*byte);
  }
  const FileDescriptor mount = open_mount(watched.device);
  if (!mount) return std::nullopt;
  const FileDescriptor opened(::open_by_handle_at(mount.get(), &handle, O_PATH | O_CLOEXEC));
  if (!opened) return std::nullopt;
  return read_link(fmt::format("/proc/self/fd/{}", opened.get()));
}

std::optional<std::string> find_in(const std::string& directory, const WatchedInode& watched) {
  if (is_it(directory, watched)) return directory;
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(directory.c_str()), ::closedir);
  if (!opened) return std::nullopt;
  std::size_t entries = 0;
  while (const dirent* entry = ::readdir(opened.get())) {
    if (++entries > kMostEntries) break;
    if (entry->d_ino != watched.inode) continue;
    std::string path = (std::filesystem::path(directory) / entry->d_name).string();
    if (is_it(path, watched)) return path;
  }
  return std::nullopt;
}

// Where programs watch: all directories that lead to what they have open.
std::set<std::string> usual_places(const TableCapture& table) {
  std::set<std::string> places{"/", "/etc"};
  const auto add = [&](std::filesystem::path path) {
    for (; path.has_relative_path(); path = path.parent_path()) {
      if (!places.insert(path.string()).second) return;
    }
  };
  for (const CapturedProcess& process : table.processes) {
    if (process.pidfd < 0) continue;  // a zombie
    for (const std::string_view link : {"cwd", "exe"}) add(read_link(fmt::format("/proc/{}/{}", process.pid, link)));
  }
  for (const Seen& seen : table.seen) {
    if (seen.link.starts_with('/')) add(seen.link);
  }
  return places;
}

}  // namespace

std::optional<std::string> find_watched_path(const TableCapture& table, const WatchedInode& watched) {
  if (auto path = path_by_handle(watched); path && is_it(*path, watched)) return path;
  for (const std::string& place : usual_places(table)) {
    if (auto path = find_in(place, watched)) return path;
  }
  return std::nullopt;
}

}  // namespace crs::engine
