#include "engine/resources/descriptors/unix_sockets/private_node.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <ranges>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "engine/machine/trial.h"

namespace crs::engine {
namespace {

constexpr mode_t kOwnerOnly = 0700;

// Makes the working directory the root directory.
bool make_root_of_working_directory() noexcept {
  if (::chroot(".") == 0) return true;
  return errno == EPERM && ::unshare(CLONE_NEWUSER) == 0 && ::chroot(".") == 0;
}

}  // namespace

PrivateNode::PrivateNode(int socket, const std::string& sun_path, const std::string& around)
    : layout_(lay_out(sun_path)) {
  if (!make_folder(around)) {
    problem_ = errno;
    return;
  }
  try {
    const UnixAddress address(sun_path);
    const int result = try_in_child([&] { return bind_inside(socket, address, sun_path.starts_with('/')); });
    problem_ = result < 0 ? EINTR : result;
  } catch (const Error&) {
    problem_ = EAGAIN;  // no process can be made
  }
}

PrivateNode::~PrivateNode() {
  if (folder_) {
    ::unlinkat(folder_.get(), layout_.node.c_str(), 0);
    for (const std::string& folder : layout_.folders | std::views::reverse)
      ::unlinkat(folder_.get(), folder.c_str(), AT_REMOVEDIR);
  }
  if (!path_.empty()) ::rmdir(path_.c_str());
}

// A relative path begins so far below that its `..` do not lead out of the private folder; above a root directory there
// is nothing.
PrivateNode::Layout PrivateNode::lay_out(const std::string& sun_path) {
  const std::filesystem::path path(sun_path);
  Layout layout;
  std::filesystem::path place;
  const auto enter = [&](const std::filesystem::path& name) { layout.folders.push_back(place /= name); };
  if (path.is_relative()) {
    for (const std::filesystem::path& part : path) {
      if (part == "..") enter("up");
    }
  }
  layout.start = place.empty() ? "." : place.string();
  for (const std::filesystem::path& part : path.parent_path()) {
    if (part.empty() || part == "." || part.is_absolute()) continue;
    if (part == "..") {
      place = place.parent_path();
    } else {
      enter(part);
    }
  }
  layout.node = place / path.filename();
  return layout;
}

// Nobody else may have put something into its place: what is removed in the end must be what was made here. A folder
// may have its set-group-ID bit from the one around it (inode(7)).
bool PrivateNode::make_folder(const std::string& around) {
  std::string path = around + "/.crs-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return false;
  path_ = path;
  FileDescriptor folder(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status{};
  if (!folder || ::fstat(folder.get(), &status) != 0) return false;
  if (status.st_uid != ::geteuid() || (status.st_mode & 0777) != kOwnerOnly) {
    errno = EPERM;
    return false;
  }
  folder_ = std::move(folder);
  return true;
}

int PrivateNode::bind_inside(int socket, const UnixAddress& address, bool is_absolute) const noexcept {
  ::umask(0777 & ~kOwnerOnly);
  for (const std::string& folder : layout_.folders) {
    if (::mkdirat(folder_.get(), folder.c_str(), kOwnerOnly) != 0 && errno != EEXIST) return errno;
  }
  if (::fchdir(folder_.get()) != 0) return errno;
  const bool is_there = is_absolute ? make_root_of_working_directory() : ::chdir(layout_.start.c_str()) == 0;
  if (!is_there) return errno;
  return errno_of(::bind(socket, address.get(), address.size));
}

FileDescriptor PrivateNode::open() const { return open_file(layout_.node, O_PATH | O_NOFOLLOW, 0, folder_.get()); }

void PrivateNode::move_to(const std::string& path) const {
  if (::renameat(folder_.get(), layout_.node.c_str(), AT_FDCWD, path.c_str()) != 0)
    fail_errno(errno, "cannot move a unix socket to {}", path);
}

}  // namespace crs::engine
