#include "engine/resources/descriptors/unix_sockets/node.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/text.h"

namespace crs::engine {
namespace {

constexpr unsigned kMinorBits = 20;  // MINORBITS of linux/kdev_t.h

constexpr std::uint32_t kernel_number(std::uint32_t major, std::uint32_t minor) { return major << kMinorBits | minor; }

// The device of the file system that is mounted there, which is not what stat(2) says in a btrfs or an overlay. Nothing
// if it cannot be told.
std::optional<std::uint32_t> mounted_device(const std::string& path) {
  struct statx status{};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &status) != 0 ||
      (status.stx_mask & STATX_MNT_ID) == 0)
    return std::nullopt;
  std::optional<std::uint32_t> device;
  const std::string wanted = std::to_string(status.stx_mnt_id);
  for_each_line(read_file("/proc/self/mountinfo"), [&](std::string_view line) {
    const std::vector<std::string_view> words = words_of(line);
    if (words.size() < 3 || words[0] != wanted) return;
    const std::size_t colon = words[2].find(':');
    const auto major = parse_number(words[2].substr(0, colon));
    const auto minor = colon == std::string_view::npos ? std::nullopt : parse_number(words[2].substr(colon + 1));
    if (major && minor) device = kernel_number(static_cast<std::uint32_t>(*major), static_cast<std::uint32_t>(*minor));
  });
  return device;
}

}  // namespace

FileDescriptor open_node_of(int socket) {
  constexpr unsigned long kOpenNode = SIOCPROTOPRIVATE;  // SIOCUNIXFILE of linux/un.h, which contradicts sys/un.h
  return FileDescriptor(::ioctl(socket, kOpenNode));
}

bool stands_at(const UnixNode& node, const std::string& path) {
  struct stat there{};
  if (::lstat(path.c_str(), &there) != 0 || !S_ISSOCK(there.st_mode)) return false;
  if (node.inode != static_cast<std::uint32_t>(there.st_ino)) return false;
  if (node.device == kernel_number(major(there.st_dev), minor(there.st_dev))) return true;
  const std::optional<std::uint32_t> mounted = mounted_device(path);
  return !mounted || *mounted == node.device;
}

}  // namespace crs::engine
