// Calls that answer EINTR to any stop, because their socket has a time limit.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>

#include "engine/tracee/child_signal.h"
#include "engine/tracee/stopped_process.h"
#include "engine/tracee/wait_status.h"

namespace crs::engine {
namespace {

constexpr int kStops = 5;

std::array<int, 2> limited_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  const timeval limit{.tv_sec = 600, .tv_usec = 0};
  EXPECT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
  EXPECT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
  return ends;
}

// A call with a name for the test, that a child makes on one end of a pair. It must return 1 once the other end reads
// or writes.
struct Call {
  const char* name;
  long number;
  bool writes;
  std::function<long(int)> make;
};

void PrintTo(const Call& call, std::ostream* out) { *out << call.name; }

char byte = 'x';
iovec piece{&byte, 1};

msghdr one_piece() {
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  return message;
}

long receive_many(int socket) {
  mmsghdr messages{.msg_hdr = one_piece(), .msg_len = 0};
  return ::recvmmsg(socket, &messages, 1, 0, nullptr);
}

long send_many(int socket) {
  mmsghdr messages{.msg_hdr = one_piece(), .msg_len = 0};
  return ::sendmmsg(socket, &messages, 1, 0);
}

long receive_message(int socket) {
  msghdr message = one_piece();
  return ::recvmsg(socket, &message, 0);
}

long send_message(int socket) {
  const msghdr message = one_piece();
  return ::sendmsg(socket, &message, 0);
}

const std::array kCalls{
    Call{"read", SYS_read, false, [](int socket) { return ::read(socket, &byte, 1); }},
    Call{"readv", SYS_readv, false, [](int socket) { return ::readv(socket, &piece, 1); }},
    Call{"preadv2", SYS_preadv2, false, [](int socket) { return ::preadv2(socket, &piece, 1, -1, 0); }},
    Call{"recvfrom", SYS_recvfrom, false, [](int socket) { return ::recv(socket, &byte, 1, 0); }},
    Call{"recvmsg", SYS_recvmsg, false, receive_message},
    Call{"recvmmsg", SYS_recvmmsg, false, receive_many},
    Call{"write", SYS_write, true, [](int socket) { return ::write(socket, &byte, 1); }},
    Call{"writev", SYS_writev, true, [](int socket) { return ::writev(socket, &piece, 1); }},
    Call{"pwritev2", SYS_pwritev2, true, [](int socket) { return ::pwritev2(socket, &piece, 1, -1, 0); }},
    Call{"sendto", SYS_sendto, true, [](int socket) { return ::send(socket, &byte, 1, 0); }},
    Call{"sendmsg", SYS_sendmsg, true, send_message},
    Call{"sendmmsg", SYS_sendmmsg, true, send_many},
};

void fill(int socket) {
  std::array<char, 4096> much{};
  while (::send(socket, much.data(), much.size(), MSG_DONTWAIT) > 0) {
  }
}

void empty(int socket) {
  std::array<char, 65536> much{};
  while (::recv(socket, much.data(), much.size(), MSG_DONTWAIT) > 0) {
  }
}

bool is_in_call(pid_t pid, long number) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/syscall");
  std::string first;
  return (file >> first) && first == std::to_string(number);
}

// A child that makes one call; its status is 0 if that returned `wanted`, else the errno.
class Caller {
 public:
  Caller(const std::function<long()>& make, long wanted) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::signal(SIGCHLD, SIG_DFL);
    ::_exit(make() == wanted ? 0 : errno);
  }
  ~Caller() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  void stop_in(long number) const {
    for (int i = 0; i < kStops; ++i) {
      while (!is_in_call(pid_, number)) ASSERT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0) << "the call has returned";
      const StoppedProcess process(pid_);
    }
  }
  int finish() {
    int raw = 0;
    ::waitpid(pid_, &raw, 0);
    pid_ = 0;
    return WaitStatus(raw).exit_status();
  }

 private:
  pid_t pid_;
};

class LimitedSocket : public ::testing::TestWithParam<Call> {};

TEST_P(LimitedSocket, GoesOnAfterAStop) {
  const ChildSignalBlocked child_signal;
  const Call& call = GetParam();
  const std::array<int, 2> ends = limited_pair();
  if (call.writes) fill(ends[0]);
  Caller caller([&] { return call.make(ends[0]); }, 1);
  ASSERT_NO_FATAL_FAILURE(caller.stop_in(call.number));
  if (call.writes) {
    empty(ends[1]);
  } else {
    ASSERT_EQ(::write(ends[1], "y", 1), 1);
  }
  EXPECT_EQ(caller.finish(), 0) << "errno";
  for (const int end : ends) ::close(end);
}

INSTANTIATE_TEST_SUITE_P(Calls, LimitedSocket, ::testing::ValuesIn(kCalls),
                         [](const auto& call) { return std::string(call.param.name); });

TEST(LimitedListener, GoesOnAcceptingAndConnecting) {
  const ChildSignalBlocked child_signal;
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  const timeval limit{.tv_sec = 600, .tv_usec = 0};
  ASSERT_EQ(::setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)),
            0);  // a name of its own
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(::listen(listener, 0), 0);
  const auto connect = [&] {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return ::connect(socket, reinterpret_cast<const sockaddr*>(&address), size);
  };
  const auto accept = [&] { return ::accept(listener, nullptr, nullptr) >= 0 ? 0L : -1L; };
  Caller accepting(accept, 0);
  ASSERT_NO_FATAL_FAILURE(accepting.stop_in(SYS_accept));
  ASSERT_EQ(connect(), 0);
  EXPECT_EQ(accepting.finish(), 0) << "errno";
  // The queue takes one that nobody has accepted; the next has to wait.
  ASSERT_EQ(connect(), 0);
  Caller connecting(connect, 0);
  ASSERT_NO_FATAL_FAILURE(connecting.stop_in(SYS_connect));
  ASSERT_EQ(accept(), 0);
  EXPECT_EQ(connecting.finish(), 0) << "errno";
  ::close(listener);
}

}  // namespace
}  // namespace crs::engine
