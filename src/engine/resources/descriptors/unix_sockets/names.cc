#include "engine/resources/descriptors/unix_sockets/names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"

namespace crs::engine {
namespace {

bool has_own_root(pid_t pid) {
  struct stat root{};
  struct stat here{};
  return ::stat(fmt::format("/proc/{}/root/", pid).c_str(), &root) == 0 && ::stat("/", &here) == 0 &&
         (root.st_dev != here.st_dev || root.st_ino != here.st_ino);
}

Reachable capture_node(const struct stat& node, image::UnixName& name) {
  name.set_mode(node.st_mode & 07777);
  name.set_owner(node.st_uid);
  name.set_group(node.st_gid);
  return node.st_nlink > 1 ? Reachable::Less : Reachable::Same;
}

bool may_be_node(const UnixDiag* diag, const std::string& path, struct stat& node) {
  return ::lstat(path.c_str(), &node) == 0 && S_ISSOCK(node.st_mode) &&
         (diag == nullptr || !diag->node || stands_at(*diag->node, path));
}

// From where a relative name leads to its node. Where it was bound is not known: a process may have gone elsewhere
// since (chdir(2)), but perhaps not all that have the socket have.
std::string directory_of(const TableCapture& table, const Seen& seen, const std::string& sun_path,
                         const UnixDiag* diag) {
  const auto directory_in = [&](std::uint32_t process) {
    return read_link(fmt::format("/proc/{}/cwd", table.processes[process].pid));
  };
  struct stat node{};
  for (const SeenNumber& number : seen.numbers) {
    std::string directory = directory_in(number.process);
    if (may_be_node(diag, std::filesystem::path(directory) / sun_path, node)) return directory;
  }
  return directory_in(seen.first_process());
}

// Of a node that is not where the socket was bound.
Reachable capture_other_place(const Seen& seen, const UnixDiag* diag, NodeSearch& search, const std::string& bound_path,
                              image::UnixName& name) {
  name.set_unlinked(true);
  if (diag == nullptr || !diag->node) return Reachable::Unknown;
  const SearchedNode& found = search.find(seen.copy.get(), bound_path, *diag->node);
  if (found.is_unlinked) return Reachable::Same;
  struct stat node{};
  if (!found.path || ::lstat(found.path->c_str(), &node) != 0) return Reachable::Unknown;
  name.set_moved_to(*found.path);
  return capture_node(node, name);
}

// Where the node is to be again; empty where it is to be nowhere.
std::string path_of_node(const image::UnixName& name) {
  if (is_abstract(name)) return {};
  return name.unlinked() ? name.moved_to() : full_path(name);
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

// Returns an errno. Waiting for room in a queue, which nobody empties here, would last for ever.
int connect_without_waiting(int socket, const UnixAddress& address) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0) return errno;
  const int problem = ::connect(socket, address.get(), address.size) == 0 ? 0 : errno;
  return ::fcntl(socket, F_SETFL, flags) == 0 ? problem : errno;
}

void check_path(const std::string& path) {
  check_node(path);
  const std::string folder = std::filesystem::path(path).parent_path();
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return;
  Error error = Error::from_errno(fmt::format("cannot make {}, the program's unix socket, again", path), errno);
  if (error.error_number() == ENOENT) error.advise(fmt::format("Make the directory {} again", folder));
  throw error;
}

}  // namespace

bool is_abstract(const image::UnixName& name) { return name.address().starts_with('\0'); }
bool is_relative(const image::UnixName& name) {
  return !name.address().empty() && !is_abstract(name) && !name.address().starts_with('/');
}

std::string full_path(const image::UnixName& name) {
  return is_relative(name) ? (std::filesystem::path(name.directory()) / name.address()).string() : name.address();
}

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

Reachable capture_name(TableCapture& table, const Seen& seen, const std::string& sun_path, const UnixDiag* diag,
                       NodeSearch& search, image::UnixName& name) {
  name.set_address(sun_path);
  if (is_abstract(name)) return Reachable::Same;
  const pid_t pid = table.holder(seen).pid;
  if (has_own_root(pid)) {
    table.refuse(seen, fmt::format("a unix socket {} below another root directory", sun_path));
    return Reachable::Same;
  }
  const std::string directory = is_relative(name) ? directory_of(table, seen, sun_path, diag) : std::string();
  const std::string path = std::filesystem::path(directory) / sun_path;
  struct stat node{};
  if (!may_be_node(diag, path, node)) return capture_other_place(seen, diag, search, path, name);
  name.set_directory(directory);
  return capture_node(node, name);
}

std::optional<std::string> obstacle_to_name(const image::UnixName& name) {
  const std::string path = path_of_node(name);
  return path.empty() ? std::nullopt : obstacle_to_path(path);
}

void check_address(const image::UnixName& name) {
  constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path);
  const bool possible = !name.address().empty() && name.address().size() <= kLongest && (name.mode() & ~07777U) == 0 &&
                        (is_abstract(name) || name.address().find('\0') == std::string::npos) &&
                        name.moved_to() != name.address() && (name.moved_to().empty() || name.unlinked()) &&
                        !(name.unlinked() && is_abstract(name));
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a unix socket with a name that cannot be");
}

void check_name(const image::UnixName& name) {
  check_address(name);
  if (is_abstract(name)) return;
  if (is_relative(name) && !name.unlinked()) checked_path(name.directory());
  if (!name.moved_to().empty()) checked_path(name.moved_to());
  if (const std::string path = path_of_node(name); !path.empty()) check_path(path);
}

InDirectoryOf::InDirectoryOf(const image::UnixName& name) {
  if (!is_relative(name) || name.unlinked()) return;
  before_ = open_file(".", O_PATH | O_DIRECTORY);
  if (::chdir(name.directory().c_str()) != 0) fail_errno(errno, "cannot enter {}", name.directory());
}

InDirectoryOf::~InDirectoryOf() {
  if (before_) static_cast<void>(::fchdir(before_.get()) == 0);
}

PathTo::PathTo(const image::UnixName& name, int unlinked_node) : there_(name), address_(name.address()) {
  if (!name.unlinked()) return;
  if (!name.moved_to().empty()) node_ = open_file(name.moved_to(), O_PATH | O_NOFOLLOW);
  const int node = node_ ? node_.get() : unlinked_node;
  if (node < 0) fail(ErrorKind::Damaged, "the snapshot has a unix socket that others cannot have reached");
  address_ = fmt::format("/proc/self/fd/{}", node);
}

void connect_to_name(int socket, const image::UnixName& name, int unlinked_node) {
  const PathTo path(name, unlinked_node);
  const int problem = connect_without_waiting(socket, UnixAddress(path.address()));
  if (problem == 0) return;
  const std::string words = is_abstract(name) ? "its peer" : name.address();
  if (problem == EAGAIN) {
    throw Error(ErrorKind::Failed, fmt::format("{}, a unix socket, has no room for another waiting connection", words))
        .advise("Let more of them wait (sysctl net.core.somaxconn), and see that no other program connects to it");
  }
  fail_errno(problem, "cannot connect a unix socket to {}", words);
}

}  // namespace crs::engine
