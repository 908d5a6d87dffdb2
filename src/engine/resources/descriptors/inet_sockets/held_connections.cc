#include "engine/resources/descriptors/inet_sockets/held_connections.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/no_process.h"
#include "engine/procfs/tree.h"
#include "engine/resources/descriptors/inet_sockets/tcp_repair.h"

namespace crs::engine {
namespace {

// What the process that holds the connections says when it does; what the checkpointer says to it then. The end of that
// one says that all are to be given back.
constexpr char kReady = 'R';
constexpr char kKeep = 'K';
constexpr char kDone = 'D';

std::uint64_t inode_of(int socket) {
  struct stat status{};
  if (::fstat(socket, &status) != 0) fail_errno(errno, "cannot look at a socket");
  return status.st_ino;
}

int reuses_address(int socket) {
  int value = 0;
  socklen_t size = sizeof value;
  ::getsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &value, &size);
  return value;
}

// 0: there is nobody at the other end.
char read_word(int channel) {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(channel, &word, 1);
  } while (got < 0 && errno == EINTR);
  return got == 1 ? word : '\0';
}

// All but these, which are ascending.
void close_others(const std::vector<int>& kept) {
  unsigned next = 0;
  for (const int number : kept) {
    if (static_cast<unsigned>(number) > next) ::close_range(next, static_cast<unsigned>(number) - 1, 0);
    next = static_cast<unsigned>(number) + 1;
  }
  ::close_range(next, ~0U, 0);
}

}  // namespace

void HeldConnections::watch(std::span<const int> sockets) {
  if (holder_ != 0 || sockets.empty()) return;
  for (const int socket : sockets) {
    Held held{FileDescriptor(::fcntl(socket, F_DUPFD_CLOEXEC, 0)), inode_of(socket), reuses_address(socket),
              packet_filter_of(socket)};
    if (!held.socket) fail_errno(errno, "cannot duplicate a socket");
    all_.push_back(std::move(held));
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_errno(errno, "making a pair of sockets");
  FileDescriptor theirs(ends[0]);
  holder_channel_ = FileDescriptor(ends[1]);
  holder_ = ::fork();
  if (holder_ == 0) hold(theirs.get());
  if (holder_ < 0) throw no_process("cannot make a process that holds TCP connections", errno);
  theirs.reset();
  if (read_word(holder_channel_.get()) != kReady)
    fail(ErrorKind::Failed, "the process that is to hold TCP connections did not start");
}

// The life of the process that holds them.
void HeldConnections::hold(int channel) const {
  ::setsid();
  ::prctl(PR_SET_NAME, kHolderName);
  static_cast<void>(!::chdir("/"));
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  std::vector<int> kept{channel};
  for (const Held& held : all_) kept.push_back(held.socket.get());
  std::ranges::sort(kept);
  close_others(kept);
  static_cast<void>(!::write(channel, &kReady, 1));
  const char word = read_word(channel);
  if (word == kDone) ::_exit(0);
  if (word != kKeep) {
    for (const Held& held : all_) give_back(held);
    ::_exit(0);
  }
  ::close(channel);
  while (true) ::pause();
}

// A program that runs on finds it usable.
void HeldConnections::leave_repair(const Held& held) noexcept {
  end_repair_silently(held.socket.get());
  ::setsockopt(held.socket.get(), SOL_SOCKET, SO_REUSEADDR, &held.reuses_address, sizeof held.reuses_address);
}

void HeldConnections::give_back(const Held& held) noexcept {
  leave_repair(held);
  try {
    set_packet_filter(held.socket.get(), held.filter);
  } catch (const Error&) {  // its own filter was accepted before
  }
}

void HeldConnections::give_back() noexcept {
  if (holder_ <= 0) return;
  for (const Held& held : all_) give_back(held);
  ::send(holder_channel_.get(), &kDone, 1, MSG_NOSIGNAL);
  while (::waitpid(holder_, nullptr, 0) < 0 && errno == EINTR) {
  }
  holder_ = 0;
}

void HeldConnections::read(int socket, image::InetSocket& image) {
  const auto held = std::ranges::find(all_, inode_of(socket), &Held::inode);
  if (held == all_.end()) fail(ErrorKind::Failed, "a TCP connection was not expected to be kept");
  begin_repair(held->socket.get());
  try {
    if (to_the_end_) drop_all_packets(held->socket.get());
    read_connection(held->socket.get(), *image.mutable_connection(), *image.mutable_unread());
  } catch (...) {
    give_back(*held);
    throw;
  }
  // Deaf, it may be used all the same, should the checkpointer die and the program run before the holder has noticed.
  to_the_end_ ? leave_repair(*held) : give_back(*held);
}

// Nothing but silence from now on, also when it is closed. An unanswered keep-alive would end in a reset. The restart
// sets it again.
void HeldConnections::keep() {
  if (holder_ <= 0) return;
  constexpr int kOff = 0;
  for (const Held& held : all_) {
    ::setsockopt(held.socket.get(), SOL_SOCKET, SO_KEEPALIVE, &kOff, sizeof kOff);
    begin_repair(held.socket.get());
  }
  if (::send(holder_channel_.get(), &kKeep, 1, MSG_NOSIGNAL) != 1)
    fail_errno(errno, "the process that is to hold TCP connections is gone");
  holder_ = 0;
}

}  // namespace crs::engine
