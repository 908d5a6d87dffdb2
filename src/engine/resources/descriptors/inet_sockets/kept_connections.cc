#include "engine/resources/descriptors/inet_sockets/kept_connections.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/descriptors/inet_sockets/inet_address.h"
#include "engine/resources/descriptors/inet_sockets/tcp_repair.h"
#include "engine/resources/descriptors/sockets/settings.h"

namespace crs::engine {
namespace {

bool is_ours(pid_t pid) {
  struct stat status{};
  return ::stat(fmt::format("/proc/{}", pid).c_str(), &status) == 0 && status.st_uid == ::geteuid();
}

bool connects(int socket, const image::InetSocket& image) {
  return InetAddress::local_of(socket).bytes() == image.local() &&
         InetAddress::remote_of(socket).bytes() == image.remote();
}

int flag_of(const image::SocketSettings& settings, int name) {
  int value = 0;
  for (const image::SocketOption& option : settings.options()) {
    const bool found = option.level() == SOL_SOCKET && static_cast<int>(option.name()) == name;
    if (found && option.value().size() == sizeof value) std::memcpy(&value, option.value().data(), sizeof value);
  }
  return value;
}

// In repair mode: without a word to the other side.
void let_fall(int socket) {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  static_cast<void>(::connect(socket, &nowhere, sizeof nowhere));
}

}  // namespace

KeptConnections::KeptConnections(const image::Descriptors& image) {
  for (const image::OpenDescription& description : image.descriptions()) {
    const image::InetSocket& socket = description.inet_socket();
    if (description.has_inet_socket() && socket.state() == image::InetSocket::KEPT)
      all_[socket.id()] = {.image = &socket, .socket = {}};
  }
}

void KeptConnections::prepare() {
  if (all_.empty()) return;
  look_for_holders();
  for (auto& [id, connection] : all_) {
    if (!connection.socket) make(connection);
  }
}

void KeptConnections::look_for_holders() {
  std::error_code gone;
  std::filesystem::directory_iterator entry("/proc", gone);
  for (; !gone && entry != std::filesystem::directory_iterator(); entry.increment(gone)) {
    const pid_t pid = std::atoi(entry->path().filename().c_str());
    if (pid <= 0 || name_of_process(pid) != kHolderName || !is_ours(pid)) continue;
    FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (process) take_from(process.get(), pid);
    if (process) holders_.push_back(std::move(process));
  }
}

void KeptConnections::take_from(int process, pid_t pid) {
  std::error_code gone;
  std::filesystem::directory_iterator entry(fmt::format("/proc/{}/fd", pid), gone);
  for (; !gone && entry != std::filesystem::directory_iterator(); entry.increment(gone)) {
    const int number = std::atoi(entry->path().filename().c_str());
    FileDescriptor socket(static_cast<int>(::syscall(SYS_pidfd_getfd, process, number, 0)));
    if (socket) take(std::move(socket));
  }
}

void KeptConnections::take(FileDescriptor socket) {
  for (auto& [id, connection] : all_) {
    if (connection.socket || !connects(socket.get(), *connection.image)) continue;
    begin_repair(socket.get());
    if (has_state(socket.get(), connection.image->connection(), connection.image->unread().size())) {
      connection.socket = std::move(socket);
    } else {
      let_fall(socket.get());  // it is of another snapshot: the place is needed
    }
    return;
  }
}

void KeptConnections::make(Connection& connection) {
  const image::InetSocket& image = *connection.image;
  const InetAddress local(image.local());
  const InetAddress remote(image.remote());
  in_context(fmt::format("the connection from {} to {} is to be made again", local.words(), remote.words()), [&] {
    FileDescriptor socket(::socket(static_cast<int>(image.family()), SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!socket) fail_errno(errno, "cannot make a socket");
    std::vector<std::string> notes;  // of what is set once more, and noted, when all is in place
    apply_settings(socket.get(), image.settings(), SettingStage::BeforeBinding, "a socket", notes);
    begin_repair(socket.get());
    make_connection(socket.get(), local, remote, image.connection(), image.unread());
    connection.socket = std::move(socket);
  });
}

void KeptConnections::begin() {
  for (auto& [id, connection] : all_) begin(connection);
  for (auto& [id, connection] : all_) connection.socket.reset();
  for (const FileDescriptor& holder : holders_) ::syscall(SYS_pidfd_send_signal, holder.get(), SIGKILL, nullptr, 0);
  holders_.clear();
}

// The program's own filter, if it had one, is in place already.
void KeptConnections::begin(const Connection& connection) {
  const image::InetSocket& image = *connection.image;
  const int socket = connection.socket.get();
  if (image.settings().filter().empty()) set_packet_filter(socket, {});
  end_repair_with_probe(socket);
  const int reuse = flag_of(image.settings(), SO_REUSEADDR);
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  // What ends its own side says so again, at the place in the stream where it said it before.
  if (image.shut_down() != 0) ::shutdown(socket, static_cast<int>(image.shut_down()) - 1);
}

}  // namespace crs::engine
