#include "engine/resources/descriptors/unix_sockets/names.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"

namespace crs::engine {
namespace {

bool is_abstract(const image::UnixName& name) { return name.address().starts_with('\0'); }
bool is_relative(const image::UnixName& name) {
  return !name.address().empty() && !is_abstract(name) && !name.address().starts_with('/');
}

std::string full_path(const image::UnixName& name) {
  return is_relative(name) ? (std::filesystem::path(name.directory()) / name.address()).string() : name.address();
}

bool has_own_root(pid_t pid) {
  struct stat root{};
  struct stat here{};
  return ::stat(fmt::format("/proc/{}/root/", pid).c_str(), &root) == 0 && ::stat("/", &here) == 0 &&
         (root.st_dev != here.st_dev || root.st_ino != here.st_ino);
}

// Where a socket with that name has its node: at one path, or it is moved from there to another.
std::vector<std::string> paths_of(const image::UnixName& name) {
  std::vector<std::string> paths{full_path(name)};
  if (!name.moved_to().empty()) paths.push_back(name.moved_to());
  return paths;
}

// The node that stands in the way of a name must be a socket that nobody has.
void check_node(const std::string& path) {
  struct stat node{};
  if (::lstat(path.c_str(), &node) != 0) {
    if (errno == ENOENT) return;
    fail_errno(errno, "cannot look at {}, the name of a unix socket", path);
  }
  if (!S_ISSOCK(node.st_mode)) {
    throw Error(ErrorKind::Failed, fmt::format("{} was the program's unix socket and is another file now", path))
        .advise("Move it away");
  }
  if (is_bound_by_somebody(path)) {
    throw Error(ErrorKind::Failed, fmt::format("{}, the program's unix socket, is in use by another program", path))
        .advise("End that program first; perhaps it is the program itself, still running");
  }
}

// A name without a directory is the same in any: in a new one it is free.
void bind_elsewhere(int socket, const UnixAddress& address) {
  std::string folder = "/tmp/crs-XXXXXX";
  const FileDescriptor before = open_file(".", O_PATH | O_DIRECTORY);
  if (::mkdtemp(folder.data()) == nullptr) return;
  if (::chdir(folder.c_str()) == 0 && ::bind(socket, address.get(), address.size) == 0)
    ::unlink(address.bytes.sun_path);
  static_cast<void>(::fchdir(before.get()) == 0);
  ::rmdir(folder.c_str());
}

void set_node(const std::string& path, const image::UnixName& name, std::vector<std::string>& notes) {
  struct stat node{};
  if (::lstat(path.c_str(), &node) != 0) return;
  const bool other = node.st_uid != name.owner() || node.st_gid != name.group();
  if (other && ::lchown(path.c_str(), name.owner(), name.group()) != 0)
    notes.push_back(fmt::format("the unix socket {} belongs to the restarting user now", full_path(name)));
  if ((node.st_mode & 07777) != name.mode() && ::chmod(path.c_str(), name.mode()) != 0)
    notes.push_back(fmt::format("the unix socket {} has other permissions now", full_path(name)));
}

Reachable capture_node(const struct stat& node, image::UnixName& name) {
  name.set_mode(node.st_mode & 07777);
  name.set_owner(node.st_uid);
  name.set_group(node.st_gid);
  return node.st_nlink > 1 ? Reachable::Less : Reachable::Same;
}

// Of a node that is not where the socket was bound.
Reachable capture_other_place(const Seen& seen, const UnixDiag* diag, NodeSearch& search, image::UnixName& name) {
  name.set_unlinked(true);
  if (diag == nullptr || !diag->node) return Reachable::Unknown;
  const SearchedNode& found = search.find(seen.copy.get(), full_path(name), *diag->node);
  if (found.is_unlinked) return Reachable::Same;
  struct stat node{};
  if (!found.path || ::lstat(found.path->c_str(), &node) != 0) return Reachable::Unknown;
  name.set_moved_to(*found.path);
  return capture_node(node, name);
}

std::optional<std::string> obstacle_to_path(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path();
  if (::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
    return fmt::format("this user may not make it again in {}", folder);
  // What stands there is removed first. In a directory like /tmp only its owner may (sticky(7)).
  struct stat node{};
  struct stat around{};
  const uid_t user = ::geteuid();
  const bool is_sticky = ::lstat(path.c_str(), &node) == 0 && ::stat(folder.c_str(), &around) == 0 &&
                         (around.st_mode & S_ISVTX) != 0 && user != 0;
  if (is_sticky && node.st_uid != user && around.st_uid != user)
    return fmt::format("what stands there belongs to user {}, and this one may not remove it", node.st_uid);
  return std::nullopt;
}

void check_path(const std::string& path) {
  check_node(path);
  const std::string folder = std::filesystem::path(path).parent_path();
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    fail_errno(errno, "cannot make {}, the program's unix socket, again", path);
}

// What was bound under one name and is known by another. A node that stands there was looked at before it is replaced.
void move_node(const image::UnixName& name) {
  if (name.moved_to().empty()) return;
  check_node(name.moved_to());
  if (::rename(name.address().c_str(), name.moved_to().c_str()) != 0)
    fail_errno(errno, "cannot move {}, a unix socket, to {}", full_path(name), name.moved_to());
}

}  // namespace

Reachable capture_name(TableCapture& table, const Seen& seen, const std::string& sun_path, const UnixDiag* diag,
                       NodeSearch& search, image::UnixName& name) {
  name.set_address(sun_path);
  if (is_abstract(name)) return Reachable::Same;
  const pid_t pid = table.holder(seen).pid;
  if (has_own_root(pid)) {
    table.refuse(seen, fmt::format("a unix socket {} below another root directory", sun_path));
    return Reachable::Same;
  }
  if (is_relative(name)) name.set_directory(read_link(fmt::format("/proc/{}/cwd", pid)));
  struct stat node{};
  const bool is_there = ::lstat(full_path(name).c_str(), &node) == 0 && S_ISSOCK(node.st_mode) &&
                        (diag == nullptr || !diag->node || stands_at(*diag->node, full_path(name)));
  return is_there ? capture_node(node, name) : capture_other_place(seen, diag, search, name);
}

std::optional<std::string> obstacle_to_name(const image::UnixName& name) {
  if (is_abstract(name)) return std::nullopt;
  for (const std::string& path : paths_of(name)) {
    if (auto obstacle = obstacle_to_path(path)) return obstacle;
  }
  return std::nullopt;
}

void check_address(const image::UnixName& name) {
  constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path);
  const bool possible = !name.address().empty() && name.address().size() <= kLongest && (name.mode() & ~07777U) == 0 &&
                        (is_abstract(name) || name.address().find('\0') == std::string::npos) &&
                        (name.moved_to().empty() || name.unlinked()) && !(name.unlinked() && is_abstract(name));
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a unix socket with a name that cannot be");
}

void check_name(const image::UnixName& name) {
  check_address(name);
  if (is_abstract(name)) return;
  if (is_relative(name)) checked_path(name.directory());
  if (!name.moved_to().empty()) checked_path(name.moved_to());
  for (const std::string& path : paths_of(name)) check_path(path);
}

InDirectoryOf::InDirectoryOf(const image::UnixName& name) {
  if (!is_relative(name)) return;
  before_ = open_file(".", O_PATH | O_DIRECTORY);
  if (::chdir(name.directory().c_str()) != 0) fail_errno(errno, "cannot enter {}", name.directory());
}

InDirectoryOf::~InDirectoryOf() {
  if (before_) static_cast<void>(::fchdir(before_.get()) == 0);
}

PathTo::PathTo(const image::UnixName& name) : there_(name), address_(name.address()) {
  if (name.moved_to().empty()) return;
  node_ = open_file(name.moved_to(), O_PATH | O_NOFOLLOW);
  address_ = fmt::format("/proc/self/fd/{}", node_.get());
}

void bind_to_name(int socket, const image::UnixName& name, std::vector<std::string>& notes) {
  const InDirectoryOf there(name);
  if (!is_abstract(name)) {
    check_node(name.address());
    ::unlink(name.address().c_str());
  }
  const UnixAddress address(name.address());
  if (::bind(socket, address.get(), address.size) != 0) {
    const std::string words = is_abstract(name) ? "@" + name.address().substr(1) : full_path(name);
    if (errno == EADDRINUSE) {
      throw Error(ErrorKind::Failed, fmt::format("the name {} of the program's unix socket is in use", words))
          .advise("End the program that uses it; perhaps it is the program itself, still running");
    }
    fail_errno(errno, "cannot give a unix socket its name {}", words);
  }
  if (!is_abstract(name) && (!name.unlinked() || !name.moved_to().empty())) set_node(name.address(), name, notes);
  move_node(name);
}

void bind_in_passing(int socket, const image::UnixName& name) {
  const UnixAddress address(name.address());
  if (is_relative(name)) return bind_elsewhere(socket, address);
  if (::bind(socket, address.get(), address.size) == 0 && !is_abstract(name)) ::unlink(name.address().c_str());
}

void connect_to_name(int socket, const image::UnixName& name) {
  const PathTo path(name);
  const UnixAddress address(path.address());
  if (::connect(socket, address.get(), address.size) != 0)
    fail_errno(errno, "cannot connect a unix socket to {}", is_abstract(name) ? "its peer" : name.address());
}

image::UnixName moved_aside(const image::UnixName& name, std::uint64_t id) {
  image::UnixName aside = name;
  const std::string folder = std::filesystem::path(full_path(name)).parent_path();
  aside.set_moved_to(fmt::format("{}/.crs-{}-{}", folder, ::getpid(), id));
  aside.set_mode(0600);
  aside.set_owner(::geteuid());
  aside.set_group(::getegid());
  return aside;
}

void unlink_name(const image::UnixName& name) {
  if (!name.unlinked() || is_abstract(name) || !name.moved_to().empty()) return;
  const InDirectoryOf there(name);
  ::unlink(name.address().c_str());
}

}  // namespace crs::engine
