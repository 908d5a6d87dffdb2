#include "engine/resources/descriptors/unix_sockets/name_binder.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/unix_sockets/names.h"
#include "engine/resources/descriptors/unix_sockets/node.h"
#include "engine/resources/descriptors/unix_sockets/private_node.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"

namespace crs::engine {
namespace {

// Where folders can be made for a moment, usually by everybody.
constexpr std::array<const char*, 2> kPassingPlaces = {"/tmp", "/dev/shm"};

void bind_to_address(int socket, const image::UnixName& name) {
  const UnixAddress address(name.address());
  if (::bind(socket, address.get(), address.size) == 0) return;
  const std::string words = is_abstract(name) ? "@" + name.address().substr(1) : full_path(name);
  if (errno == EADDRINUSE) {
    throw Error(ErrorKind::Failed, fmt::format("the name {} of the program's unix socket is in use", words))
        .advise("End the program that uses it; perhaps it is the program itself, still running");
  }
  fail_errno(errno, "cannot give a unix socket its name {}", words);
}

// Of a socket that was just bound to `path`: somebody else may have put another one there since.
FileDescriptor open_bound_node(int socket, const std::string& path) {
  FileDescriptor node = open_node_of(socket);
  return node ? std::move(node) : open_file(path, O_PATH | O_NOFOLLOW);
}

// Returns the node of a socket that was bound to `path`, and that stands at `destination` now; if that is empty,
// nowhere.
FileDescriptor take_away(int socket, const std::string& path, const std::string& destination) {
  FileDescriptor node = open_bound_node(socket, path);
  if (!destination.empty() && ::rename(path.c_str(), destination.c_str()) == 0) return node;
  const int problem = errno;
  ::unlink(path.c_str());
  if (!destination.empty()) fail_errno(problem, "cannot move {}, a unix socket, to {}", path, destination);
  return node;
}

// What stands at a path, another socket of the image or one that nobody has, has another name in its directory as long
// as this exists.
class PutAside {
 public:
  explicit PutAside(const std::string& path) : path_(path), aside_(fmt::format("{}.crs-{}", path, ::getpid())) {
    is_aside_ = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, aside_.c_str(), RENAME_NOREPLACE) == 0;
    if (!is_aside_ && errno != ENOENT) fail_errno(errno, "cannot put {}, a unix socket, aside", path_);
  }
  ~PutAside() {
    if (is_aside_) ::renameat2(AT_FDCWD, aside_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE);
  }
  PutAside(const PutAside&) = delete;
  PutAside& operator=(const PutAside&) = delete;

 private:
  std::string path_;
  std::string aside_;
  bool is_aside_ = false;
};

}  // namespace

NameBinder::NameBinder(std::vector<std::string>& notes) : notes_(notes), owner_(::getpid()) {}

NameBinder::~NameBinder() {
  if (::getpid() != owner_) return;
  for (const MadeNode& made : made_) {
    struct stat there{};
    const bool is_it = ::lstat(made.path.c_str(), &there) == 0 && there.st_dev == made.device &&
                       there.st_ino == made.inode && S_ISSOCK(there.st_mode);
    if (is_it) ::unlink(made.path.c_str());
  }
}

FileDescriptor NameBinder::bind(int socket, const image::UnixName& name) {
  if (is_abstract(name)) {
    bind_to_address(socket, name);
  } else if (!name.unlinked()) {
    bind_to_path(socket, name);
  } else if (!name.moved_to().empty()) {
    bind_and_move(socket, name);
  } else {
    return bind_and_unlink(socket, name);
  }
  return {};
}

void NameBinder::bind_to_path(int socket, const image::UnixName& name) {
  const InDirectoryOf there(name);
  check_node(name.address());
  ::unlink(name.address().c_str());
  bind_to_address(socket, name);
  set_up(open_bound_node(socket, name.address()).get(), full_path(name), name);
}

// A node that stands where it goes was looked at before it is replaced.
void NameBinder::bind_and_move(int socket, const image::UnixName& name) {
  const PrivateNode node(socket, name.address(), std::filesystem::path(name.moved_to()).parent_path());
  FileDescriptor bound;
  if (node.is_bound()) {
    bound = node.open();
    check_node(name.moved_to());
    node.move_to(name.moved_to());
  } else {
    bound = bind_at_path_meanwhile(socket, name, node.problem());
  }
  set_up(bound.get(), name.moved_to(), name);
}

FileDescriptor NameBinder::bind_and_unlink(int socket, const image::UnixName& name) {
  int problem = 0;
  for (const char* place : kPassingPlaces) {
    const PrivateNode node(socket, name.address(), place);
    if (node.is_bound()) return node.open();
    problem = node.problem();
  }
  return bind_at_path_meanwhile(socket, name, problem);
}

// Where this user may have no other root directory. Returns the node, which has been moved where it belongs, or
// unlinked.
FileDescriptor NameBinder::bind_at_path_meanwhile(int socket, const image::UnixName& name, int problem) {
  if (is_relative(name)) fail_errno(problem, "cannot bind a unix socket to {} in a folder of its own", name.address());
  try {
    if (!is_own(name.address())) check_node(name.address());
    if (!name.moved_to().empty()) check_node(name.moved_to());
    const PutAside before(name.address());
    bind_to_address(socket, name);
    return take_away(socket, name.address(), name.moved_to());
  } catch (Error& error) {
    error.advise(
        "Restart as root, or where this user may make user namespaces (user_namespaces(7)): then the path need not be "
        "free, or exist");
    throw;
  }
}

void NameBinder::bind_in_passing(int socket, const std::string& sun_path) {
  const UnixAddress address(sun_path);
  if (sun_path.starts_with('\0')) {
    static_cast<void>(::bind(socket, address.get(), address.size));  // whoever uses it sees
    return;
  }
  for (const char* place : kPassingPlaces) {
    if (PrivateNode(socket, sun_path, place).is_bound()) return;
  }
  if (sun_path.starts_with('/') && ::bind(socket, address.get(), address.size) == 0) ::unlink(sun_path.c_str());
}

// By the node itself: somebody else may put something into its place at any time.
void NameBinder::set_up(int node, const std::string& path, const image::UnixName& name) {
  struct stat status{};
  if (::fstat(node, &status) != 0 || !S_ISSOCK(status.st_mode))
    fail(ErrorKind::Failed, "{}, the program's unix socket, has been replaced", path);
  made_.push_back({path, status.st_dev, status.st_ino});
  const bool other = status.st_uid != name.owner() || status.st_gid != name.group();
  if (other && ::fchownat(node, "", name.owner(), name.group(), AT_EMPTY_PATH) != 0)
    notes_.push_back(fmt::format("the unix socket {} belongs to the restarting user now", path));
  const std::string through = fmt::format("/proc/self/fd/{}", node);
  if ((status.st_mode & 07777) != name.mode() && ::chmod(through.c_str(), name.mode()) != 0)
    notes_.push_back(fmt::format("the unix socket {} has other permissions now", path));
}

bool NameBinder::is_own(const std::string& path) const {
  struct stat there{};
  if (::lstat(path.c_str(), &there) != 0) return false;
  return std::ranges::any_of(made_, [&](const MadeNode& made) {
    return made.device == there.st_dev && made.inode == there.st_ino && S_ISSOCK(there.st_mode);
  });
}

}  // namespace crs::engine
