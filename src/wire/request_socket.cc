#include "wire/request_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/io.h"

namespace crs::wire {
namespace {

constexpr timeval kLongestConnect{.tv_sec = 5, .tv_usec = 0};
constexpr int kBacklog = 16;

// A path of any length reaches the socket through the open directory, and no other file can take the directory's place
// meanwhile.
sockaddr_un address_of(const FileDescriptor& directory, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory.get(), name);
  if (path.size() >= sizeof address.sun_path) fail(ErrorKind::Failed, "the name {} is too long for a socket", name);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

FileDescriptor make_socket() {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) fail_errno(errno, "making a socket");
  return socket;
}

// False: nobody listens there.
bool connect_to(const FileDescriptor& socket, const sockaddr_un& address, socklen_t size) {
  // Also for a listener whose queue is full (unix(7)).
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kLongestConnect, sizeof kLongestConnect);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0;
}

bool connect_to(const FileDescriptor& socket, const FileDescriptor& directory, const std::string& name) {
  return connect_to(socket, address_of(directory, name), sizeof(sockaddr_un));
}

// Names in the abstract namespace (unix(7)) begin so, where proc_net(5) shows the leading null byte as '@'.
constexpr std::string_view kAbstract = "@crs-requests/";

// Of a name as proc_net(5) shows it, and without null bytes at its end.
std::pair<sockaddr_un, socklen_t> abstract_address(const std::string& shown) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (shown.size() > sizeof address.sun_path) fail(ErrorKind::Failed, "the name {} is too long for a socket", shown);
  std::memcpy(address.sun_path + 1, shown.data() + 1, shown.size() - 1);
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + shown.size())};
}

std::vector<std::string> sockets_in(const FileDescriptor& directory) {
  std::vector<std::string> names;
  // fdopendir() takes the descriptor for itself, and its offset is shared.
  const int copy = ::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(copy < 0 ? nullptr : ::fdopendir(copy), &::closedir);
  if (stream == nullptr) return names;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own
  while (const dirent* entry = ::readdir(stream.get())) {
    struct stat status{};
    if (::fstatat(directory.get(), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode)) {
      names.emplace_back(entry->d_name);
    }
  }
  return names;
}

pid_t pid_in(const std::string& name) {
  pid_t pid = 0;
  const auto [stop, problem] = std::from_chars(name.data(), name.data() + name.size(), pid);
  return problem == std::errc{} && *stop == '-' ? pid : 0;
}

// What a killed program left, or this process before it was restarted. One of another pid namespace may live; it then
// listens.
void clear_away(const FileDescriptor& directory) {
  for (const std::string& name : sockets_in(directory)) {
    const pid_t pid = pid_in(name);
    if (pid <= 0 || (pid != ::getpid() && (::kill(pid, 0) == 0 || errno != ESRCH))) continue;
    const FileDescriptor socket = make_socket();
    if (!connect_to(socket, directory, name) && errno == ECONNREFUSED) ::unlinkat(directory.get(), name.c_str(), 0);
  }
}

std::string random_name() {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number) fail_errno(errno, "getting a random number");
  return fmt::format("{}-{:016x}", ::getpid(), number);
}

// The process's own ids in all pid namespaces (proc_pid_status(5)): a service names its socket by the innermost.
std::vector<pid_t> ids_of(pid_t pid) {
  std::vector<pid_t> ids{pid};
  const std::string status = read_file(fmt::format("/proc/{}/status", pid), std::size_t{1} << 20);
  constexpr std::string_view kLabel = "\nNSpid:";
  std::size_t place = status.find(kLabel);
  if (place == std::string::npos) return ids;
  for (place += kLabel.size(); place < status.size() && status[place] == '\t';) {
    pid_t id = 0;
    const auto [stop, problem] = std::from_chars(status.data() + place + 1, status.data() + status.size(), id);
    if (problem != std::errc{}) break;
    ids.push_back(id);
    place = static_cast<std::size_t>(stop - status.data());
  }
  return ids;
}

// The inodes of the sockets that the process has open.
std::set<std::uint64_t> open_sockets(pid_t pid) {
  std::set<std::uint64_t> inodes;
  std::error_code gone;
  std::filesystem::directory_iterator descriptors(fmt::format("/proc/{}/fd", pid), gone);
  for (; !gone && descriptors != std::filesystem::directory_iterator(); descriptors.increment(gone)) {
    constexpr std::string_view kSocket = "socket:[";
    std::error_code closed;
    const std::string target = std::filesystem::read_symlink(descriptors->path(), closed).string();
    std::uint64_t inode = 0;
    if (!target.starts_with(kSocket)) continue;
    std::from_chars(target.data() + kSocket.size(), target.data() + target.size(), inode);
    inodes.insert(inode);
  }
  return inodes;
}

// A name of random_name(), in the directory that address_of() names or in the abstract namespace.
bool is_request_socket(const std::string& path, const std::vector<pid_t>& ids) {
  const std::size_t slash = path.rfind('/');
  return (path.starts_with("/proc/self/fd/") || path.starts_with(kAbstract)) && slash != std::string::npos &&
         std::find(ids.begin(), ids.end(), pid_in(path.substr(slash + 1))) != ids.end();
}

// The names of the sockets that the process has open and that are named as a service names them. The columns of
// proc_net(5), net/unix: number, references, protocol, flags, type, state, inode, path.
std::set<std::string> request_sockets_of(pid_t pid, const std::vector<pid_t>& ids) {
  std::set<std::string> names;
  const std::set<std::uint64_t> open = open_sockets(pid);
  if (open.empty()) return names;
  std::istringstream table(read_file(fmt::format("/proc/{}/net/unix", pid), std::size_t{1} << 26));
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::uint64_t inode = 0;
    std::string path;
    for (int column = 0; column < 6; ++column) fields >> skipped;
    if (fields >> inode >> path && open.contains(inode) && is_request_socket(path, ids)) names.insert(path);
  }
  return names;
}

bool is_own_directory(const std::string& path, uid_t user) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == user;
}

}  // namespace

std::vector<std::string> request_directories(const std::string& runtime_directory, uid_t user) {
  std::vector<std::string> directories;
  if (runtime_directory.starts_with('/')) directories.push_back(runtime_directory + "/crs");
  directories.push_back(fmt::format("/tmp/crs-{}", user));
  return directories;
}

FileDescriptor open_request_directory(const std::string& path, uid_t user) {
  FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory && errno == ENOENT) return {};
  if (!directory) fail_errno(errno, "the directory for requests {} cannot be used", path);
  struct stat status{};
  if (::fstat(directory.get(), &status) != 0) fail_errno(errno, "looking at {}", path);
  if (status.st_uid != user) {
    throw Error(ErrorKind::Failed,
                fmt::format("the directory for requests {} belongs to user {}, not {}", path, status.st_uid, user))
        .advise("Have it removed, or set XDG_RUNTIME_DIR");
  }
  constexpr mode_t kOthers = 077;
  if ((status.st_mode & kOthers) != 0) {
    throw Error(ErrorKind::Failed, fmt::format("the directory for requests {} is open to other users (mode {:03o})",
                                               path, status.st_mode & 0777))
        .advise(fmt::format("'chmod 700 {}'", path));
  }
  return directory;
}

namespace {

Listening listen_in_directory(const std::string& path, uid_t user) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) fail_errno(errno, "making the directory {}", path);
  Listening listening{
      .directory = open_request_directory(path, user), .socket = make_socket(), .name = random_name(), .path = {}};
  if (!listening.directory) fail(ErrorKind::Failed, "the directory {} vanished as soon as it was made", path);
  clear_away(listening.directory);
  listening.path = path + "/" + listening.name;
  const sockaddr_un address = address_of(listening.directory, listening.name);
  if (::bind(listening.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listening.socket.get(), kBacklog) != 0) {
    fail_errno(errno, "listening at {}", listening.path);
  }
  return listening;
}

// Nobody can take a name beforehand that has a random number in it, and anybody may connect: the service looks at who
// it is.
Listening listen_without_directory() {
  Listening listening{.directory = {}, .socket = make_socket(), .name = random_name(), .path = {}};
  listening.path = std::string(kAbstract) + listening.name;
  const auto [address, size] = abstract_address(listening.path);
  if (::bind(listening.socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(listening.socket.get(), kBacklog) != 0) {
    fail_errno(errno, "listening at {}", listening.path);
  }
  return listening;
}

// Whoever made this socket in the name of the program is not the program.
bool is_of(const Connection& connection, pid_t pid) { return connection.peer().pid == pid; }

[[noreturn]] void fail_full(pid_t pid) {
  fail(ErrorKind::Failed, "process {} has a service that takes no requests", pid);
}

// To the first of `names` at which the process itself answers; `connect(socket, name)` says whether anybody does.
template <typename Connect>
std::optional<Connection> connect_to_first(pid_t pid, const std::vector<std::string>& names, const Connect& connect) {
  for (const std::string& name : names) {
    FileDescriptor socket = make_socket();
    if (!connect(socket, name)) {
      if (errno == EAGAIN) fail_full(pid);
      continue;
    }
    Connection connection(std::move(socket), fmt::format("process {}", pid));
    if (is_of(connection, pid)) return connection;
  }
  return std::nullopt;
}

std::optional<Connection> connect_in_directory(pid_t pid, const std::vector<pid_t>& ids,
                                               const FileDescriptor& directory) {
  std::vector<std::string> names;
  for (const std::string& name : sockets_in(directory)) {
    if (std::find(ids.begin(), ids.end(), pid_in(name)) != ids.end()) names.push_back(name);
  }
  return connect_to_first(
      pid, names, [&](FileDescriptor& socket, const std::string& name) { return connect_to(socket, directory, name); });
}

std::optional<Connection> connect_without_directory(pid_t pid, const std::vector<pid_t>& ids) {
  std::vector<std::string> names;
  for (const std::string& name : request_sockets_of(pid, ids)) {
    if (name.starts_with(kAbstract)) names.push_back(name);
  }
  return connect_to_first(pid, names, [](FileDescriptor& socket, const std::string& name) {
    const auto [address, size] = abstract_address(name);
    return connect_to(socket, address, size);
  });
}

}  // namespace

Listening listen_for_requests(const std::string& runtime_directory) {
  const uid_t user = ::geteuid();
  // $XDG_RUNTIME_DIR of a session of somebody else's (su(1)) is not this user's to write to.
  const bool usable = is_own_directory(runtime_directory, user);
  const std::string path = request_directories(usable ? runtime_directory : "", user).front();
  try {
    return listen_in_directory(path, user);
  } catch (const Error& taken) {  // in /tmp anybody may have put something there
    return in_context(taken.what(), listen_without_directory);
  }
}

std::optional<Connection> connect_to_service(pid_t pid, uid_t user, const std::vector<std::string>& directories,
                                             const std::function<void(const std::string&)>& note) {
  const std::vector<pid_t> ids = ids_of(pid);
  for (const std::string& path : directories) {
    FileDescriptor directory;
    try {
      directory = open_request_directory(path, user);
    } catch (const Error& error) {
      // What the target's user may not look into holds no service of the target's.
      if (note && error.error_number() != EACCES) note(error.what());
    }
    if (!directory) continue;
    if (auto connection = connect_in_directory(pid, ids, directory)) return connection;
  }
  return connect_without_directory(pid, ids);
}

bool listens_for_requests(pid_t pid) { return !request_sockets_of(pid, ids_of(pid)).empty(); }

}  // namespace crs::wire
