#include "engine/resources/memory/file_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/file_birth.h"
#include "base/file_descriptor.h"
#include "engine/resources/descriptors/huge_files.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"

namespace crs::engine {
namespace {

// maps shows a newline in a path as \012, and these four characters likewise: what the path may be, as it is shown
// first. Of very many, not all are tried.
std::vector<std::string> possible_paths(std::string_view shown) {
  constexpr std::string_view kNewline = "\\012";
  constexpr std::size_t kMostPaths = 256;
  std::vector<std::string> paths{"", ""};  // the second with newlines alone
  while (!shown.empty()) {
    const std::size_t plain = std::min(shown.find(kNewline), shown.size());
    for (std::string& path : paths) path += shown.substr(0, plain);
    shown.remove_prefix(plain);
    if (shown.empty()) break;
    const std::size_t before = paths.size();
    for (std::size_t i = 0; i < before; ++i) {
      if (i != 1 && before < kMostPaths) paths.push_back(paths[i] + '\n');
      paths[i] += i == 1 ? "\n" : kNewline;
    }
    shown.remove_prefix(kNewline.size());
  }
  return paths;
}

// On file systems such as btrfs and overlayfs, maps shows another device (and inode) than stat(2). A mapping of our own
// shows how this file is shown.
bool shown_alike(const std::string& path, const MapsLine& line) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  // There stat(2) tells the same, and nobody else's pages are to be reserved for a look.
  if (!file || huge_page_bytes_of(file.get()) != 0) return false;
  void* const place = ::mmap(nullptr, kPageSize, PROT_NONE, MAP_PRIVATE, file.get(), 0);
  if (place == MAP_FAILED) return false;
  const RemoteAddress address{reinterpret_cast<std::uint64_t>(place)};
  const std::vector<MapsLine> own = read_maps(::getpid());
  ::munmap(place, kPageSize);
  return std::ranges::any_of(own, [&](const MapsLine& mine) {
    return mine.range.contains(address) && mine.device == line.device && mine.inode == line.inode;
  });
}

// Whether `path` leads to the file of `line`; `status` is then its.
bool leads_to(const std::string& path, const MapsLine& line, struct stat& status) {
  if (::stat(path.c_str(), &status) != 0) return false;
  if (status.st_dev == line.device && status.st_ino == line.inode) return true;
  return S_ISREG(status.st_mode) && shown_alike(path, line);
}

Backing of_path(const std::string& path, const MapsLine& line, const struct stat& status) {
  if (S_ISREG(status.st_mode)) return {BackingKind::File, path};
  const bool zero = S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 5);
  if (zero && !line.shared) return {BackingKind::ZeroDevice, path};
  return {BackingKind::Unsupported, fmt::format("the device {}", path)};
}

bool is_shared_zero_name(std::string_view name) {
  return name == "/dev/zero (deleted)" || name.starts_with("[anon_shmem:");
}

bool is_memfd_name(std::string_view name) { return name.starts_with("/memfd:"); }

// Kernel objects that have a name like a path's.
std::optional<Backing> special(const MapsLine& line) {
  const std::string& name = line.name;
  if (is_shared_zero_name(name)) return Backing{line.shared ? BackingKind::SharedZero : BackingKind::Gone, name};
  if (is_segment(line)) return Backing{BackingKind::SystemV, name};
  if (is_asynchronous_io(line)) return Backing{BackingKind::AsynchronousIo, name};
  if (is_memfd_name(name)) return Backing{BackingKind::Gone, name};
  if (name.starts_with("/secretmem")) return Backing{BackingKind::Unsupported, "secret memory (memfd_secret)"};
  if (!name.starts_with("/")) return Backing{BackingKind::Unsupported, name};
  return std::nullopt;
}

// By the name that is shown.
Backing backing_of(const MapsLine& line) {
  if (const auto object = special(line)) return *object;
  struct stat status{};
  for (const std::string& path : possible_paths(line.name)) {
    if (leads_to(path, line, status)) return of_path(path, line, status);
  }
  return {BackingKind::Gone, line.name};
}

}  // namespace

bool is_segment(const MapsLine& line) {
  return line.shared && line.name.starts_with("/SYSV") && line.name.ends_with(kDeleted);
}

bool is_shared_memory(const MapsLine& line) {
  return line.shared && (is_shared_zero_name(line.name) || is_segment(line));
}

Backing Backings::look_for(const MapsLine& line) {
  Backing backing = backing_of(line);
  if (backing.kind != BackingKind::Gone || is_memfd_name(line.name)) return backing;
  for (const std::string& shown : possible_paths(line.name)) {
    struct stat status{};
    const auto leads_there = [&](const std::string& path) { return leads_to(path, line, status); };
    if (const auto path = other_names_.find(shown, line.inode, leads_there)) return of_path(*path, line, status);
  }
  return backing;
}

const Backing& Backings::of(const MapsLine& line) {
  const auto key = std::pair(std::pair(line.device, line.inode), std::pair(line.name, line.shared));
  const auto [entry, is_new] = known_.try_emplace(key);
  if (is_new) entry->second = look_for(line);
  return entry->second;
}

bool record_file(const std::string& path, image::MappedFile& file) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return false;
  file.set_path(path);
  file.set_device(status.st_dev);
  file.set_inode(status.st_ino);
  file.set_born(file_birth(AT_FDCWD, path.c_str(), 0));
  file.set_size(static_cast<std::uint64_t>(status.st_size));
  file.set_modified_seconds(status.st_mtim.tv_sec);
  file.set_modified_nanoseconds(static_cast<std::uint32_t>(status.st_mtim.tv_nsec));
  return true;
}

const std::optional<image::MappedFile>& Backings::record_of(const std::string& path) {
  const auto [entry, is_new] = records_.try_emplace(path);
  image::MappedFile file;
  if (is_new && record_file(path, file)) entry->second = std::move(file);
  return entry->second;
}

// Asked rather than tried: opening a file for writing breaks leases.
bool Backings::may_be_mapped(const image::MappedFile& file) {
  const auto [entry, is_new] = may_be_mapped_.try_emplace(std::pair(file.path(), file.writable()));
  if (is_new) {
    const int access = file.writable() ? R_OK | W_OK : R_OK;
    entry->second =
        ::faccessat(AT_FDCWD, file.path().c_str(), access, AT_EACCESS) == 0 || (errno != EACCES && errno != EPERM);
  }
  return entry->second;
}

std::optional<std::string> what_changed(const image::MappedFile& file) {
  struct stat now{};
  if (::stat(file.path().c_str(), &now) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return fmt::format("{} is missing", file.path());
    return fmt::format("{} cannot be reached ({})", file.path(), ::strerrordesc_np(errno));
  }
  if (!S_ISREG(now.st_mode)) return fmt::format("{} is no regular file any more", file.path());
  const auto size = static_cast<std::uint64_t>(now.st_size);
  if (size < file.size())
    return fmt::format("{} has {} bytes instead of {}: it is shorter", file.path(), size, file.size());
  const bool same_time =
      now.st_mtim.tv_sec == file.modified_seconds() && now.st_mtim.tv_nsec == file.modified_nanoseconds();
  const bool same_file = now.st_dev == file.device() &&
                         is_same_file({.inode = file.inode(), .born = file.born()},
                                      {.inode = now.st_ino, .born = file_birth(AT_FDCWD, file.path().c_str(), 0)});
  if (same_time && size == file.size()) return std::nullopt;
  if (!same_file) return fmt::format("{} was replaced by another file", file.path());
  // A file that is mapped shared may be written by anyone who shares it.
  if (!file.private_areas()) return std::nullopt;
  if (size != file.size())
    return fmt::format("{} has {} bytes instead of {}: it was changed", file.path(), size, file.size());
  return fmt::format("{} was changed: its time of modification is another", file.path());
}

}  // namespace crs::engine
