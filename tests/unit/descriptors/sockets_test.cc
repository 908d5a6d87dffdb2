// Sockets that come back dead, and the channel to whoever takes the snapshot.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <numeric>

#include "descriptors/round_trip.h"

namespace crs::engine::testing {
namespace {

int option(int socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  require(::getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0, "getsockopt");
  return value;
}

void expect_kind(int socket, int family, int type, int protocol) {
  require(
      option(socket, SO_DOMAIN) == family && option(socket, SO_TYPE) == type && option(socket, SO_PROTOCOL) == protocol,
      "the kind of socket " + std::to_string(socket));
}

void expect_error(long result, int error, const std::string& what) {
  require(result == -1 && errno == error, what + " gave " + std::to_string(result));
}

bool is_bound(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  require(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  if (address.ss_family == AF_UNIX) return size > sizeof(sa_family_t);
  // A connection that was reset still shows the port that it had: whether it has it is seen by taking it.
  const FileDescriptor other(::socket(option(socket, SO_DOMAIN), option(socket, SO_TYPE), 0));
  return reinterpret_cast<const sockaddr_in&>(address).sin_port != 0 &&
         ::bind(other.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0;
}

// A reset connection: an error once, then the end.
void expect_dead_connection(int socket) {
  pollfd ready{socket, POLLIN, 0};
  require(::poll(&ready, 1, 0) == 1 && (ready.revents & (POLLERR | POLLHUP)) != 0, "poll");
  expect_error(::accept(socket, nullptr, nullptr), EINVAL, "accept");
  require(!is_bound(socket), "bound");
  std::array<char, 16> buffer{};
  expect_error(::read(socket, buffer.data(), buffer.size()), ECONNRESET, "the first read");
  require(::read(socket, buffer.data(), buffer.size()) == 0, "the second read");
  require(::recv(socket, buffer.data(), buffer.size(), 0) == 0, "recv");
  expect_error(::send(socket, "x", 1, MSG_NOSIGNAL), EPIPE, "send");
}

void expect_dead_datagrams(int socket) {
  pollfd ready{socket, POLLIN, 0};
  require(::poll(&ready, 1, 0) == 1, "poll");
  std::array<char, 16> buffer{};
  require(::recv(socket, buffer.data(), buffer.size(), 0) == 0, "recv");
  require(!is_bound(socket), "bound");
}

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_in address_of(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  require(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  return address;
}

void bind_to_loopback(int socket) {
  const sockaddr_in address = loopback();
  require(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "bind");
}

// 0: listener, 1: client, 2: accepted.
void open_tcp() {
  require(::socket(AF_INET, SOCK_STREAM, 0) == 0, "0: listener");
  bind_to_loopback(0);
  require(::listen(0, 1) == 0, "listen");
  const sockaddr_in address = address_of(0);
  require(::socket(AF_INET, SOCK_STREAM, 0) == 1, "1: client");
  require(::connect(1, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
  require(::accept(0, nullptr, nullptr) == 2, "2: accepted");
}

class Sockets : public ::testing::Test {
 protected:
  void SetUp() override {
    trip.wishes.expendable.resize(32);
    std::iota(trip.wishes.expendable.begin(), trip.wishes.expendable.end(), 0);
  }
  std::string refusal(const std::function<void()>& set_up) {
    try {
      trip.capture(set_up);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }
  RoundTrip trip;
};

TEST_F(Sockets, TcpComesBackReset) {
  trip.carry(
      [] {
        open_tcp();
        require(::fcntl(1, F_SETFL, O_RDWR | O_NONBLOCK) == 0 && ::fcntl(2, F_SETFD, FD_CLOEXEC) == 0, "flags");
        require(::dup2(1, 7) == 7, "7: duplicate of 1");
      },
      [] {
        for (const int socket : {0, 1, 2}) expect_kind(socket, AF_INET, SOCK_STREAM, IPPROTO_TCP);
        require((::fcntl(1, F_GETFL) & O_NONBLOCK) != 0 && (::fcntl(2, F_GETFL) & O_NONBLOCK) == 0, "status flags");
        require(::fcntl(2, F_GETFD) == FD_CLOEXEC && ::fcntl(1, F_GETFD) == 0, "close-on-exec");
        require(::fcntl(1, F_SETFL, O_RDWR) == 0 && (::fcntl(7, F_GETFL) & O_NONBLOCK) == 0, "7 shares with 1");
        for (const int socket : {0, 1, 2}) expect_dead_connection(socket);
        expect_error(::fcntl(3, F_GETFD), EBADF, "number 3");
      });
}

TEST_F(Sockets, DeadTcpStaysDead) {
  trip.carry(open_tcp, [] {
    const sockaddr_in address = loopback();
    expect_error(::connect(1, reinterpret_cast<const sockaddr*>(&address), sizeof address), EISCONN, "connect");
    expect_error(::listen(0, 1), EINVAL, "listen");
  });
}

TEST_F(Sockets, Tcp6AndUdp) {
  trip.carry(
      [] {
        require(::socket(AF_INET6, SOCK_STREAM, 0) == 0 && ::socket(AF_INET6, SOCK_DGRAM, 0) == 1, "0, 1: IPv6");
        require(::socket(AF_INET, SOCK_DGRAM, 0) == 2 && ::socket(AF_INET, SOCK_DGRAM, 0) == 3, "2, 3: UDP");
        bind_to_loopback(2);
        const sockaddr_in address = address_of(2);
        require(::connect(3, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
      },
      [] {
        expect_kind(0, AF_INET6, SOCK_STREAM, IPPROTO_TCP);
        expect_dead_connection(0);
        expect_kind(1, AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
        expect_dead_datagrams(1);
        for (const int socket : {2, 3}) {
          expect_kind(socket, AF_INET, SOCK_DGRAM, IPPROTO_UDP);
          expect_dead_datagrams(socket);
        }
      });
}

TEST_F(Sockets, UnixSocketsOfAllTypes) {
  const std::string path = trip.folder / "name";
  trip.carry(
      [&] {
        std::array<int, 2> ends{};
        for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM})
          require(::socketpair(AF_UNIX, type, 0, ends.data()) == 0, "pair");
        require(::write(0, "unread", 6) == 6 && ::write(2, "unread", 6) == 6, "unread data");
        require(::socket(AF_UNIX, SOCK_STREAM, 0) == 6, "6: listener");
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        require(::bind(6, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && ::listen(6, 1) == 0,
                "listen");
      },
      [] {
        for (const int socket : {0, 1, 6}) {
          expect_kind(socket, AF_UNIX, SOCK_STREAM, 0);
          expect_dead_connection(socket);
        }
        for (const int socket : {2, 3}) {
          expect_kind(socket, AF_UNIX, SOCK_SEQPACKET, 0);
          expect_dead_connection(socket);
        }
        for (const int socket : {4, 5}) {
          expect_kind(socket, AF_UNIX, SOCK_DGRAM, 0);
          expect_dead_datagrams(socket);
          expect_error(::send(socket, "x", 1, MSG_NOSIGNAL), EPIPE, "send");
        }
      });
}

TEST_F(Sockets, OtherFamiliesAsFarAsTheyCanBeMade) {
  trip.carry(
      [] {
        require(::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) == 0, "netlink");
        if (::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) != 1) require(::dup(0) == 1, "raw");
      },
      [] {
        expect_kind(0, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
        std::array<char, 16> buffer{};
        require(::recv(0, buffer.data(), buffer.size(), 0) <= 0, "netlink recv ends");
        require(::recv(1, buffer.data(), buffer.size(), 0) <= 0, "raw recv ends");
      });
}

TEST_F(Sockets, EpollGoesOnWatchingThem) {
  trip.carry(
      [] {
        std::array<int, 2> ends{};
        require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0 && ::epoll_create1(0) == 2, "set-up");
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = 42;
        require(::epoll_ctl(2, EPOLL_CTL_ADD, 1, &event) == 0, "watch");
      },
      [] {
        epoll_event event{};
        require(::epoll_wait(2, &event, 1, 0) == 1 && event.data.u64 == 42, "no event");
        require((event.events & EPOLLHUP) != 0, "no hang-up");
        require(::epoll_ctl(2, EPOLL_CTL_DEL, 1, nullptr) == 0, "it was not watched");
      });
}

// 0: a socket that cannot be kept: a connection waits at it whose client has closed it already.
void listen_to_nobody() {
  const sockaddr_un any{.sun_family = AF_UNIX, .sun_path = {}};
  const auto* const asks_for_a_name = reinterpret_cast<const sockaddr*>(&any);
  sockaddr_un name{};
  socklen_t size = sizeof name;
  require(::socket(AF_UNIX, SOCK_STREAM, 0) == 0 && ::bind(0, asks_for_a_name, sizeof(sa_family_t)) == 0 &&
              ::listen(0, 1) == 0 && ::getsockname(0, reinterpret_cast<sockaddr*>(&name), &size) == 0,
          "0: listening");
  require(::socket(AF_UNIX, SOCK_STREAM, 0) == 1 && ::connect(1, reinterpret_cast<const sockaddr*>(&name), size) == 0 &&
              ::close(1) == 0,
          "1: the client, for a moment");
}

TEST_F(Sockets, ThoseThatAreNotExpendableAreRefused) {
  trip.wishes.expendable = {0, 1, 2, 3};
  EXPECT_THAT(refusal([] {
                listen_to_nobody();
                require(::dup2(0, 9) == 9 && ::close(0) == 0, "9: listening");
              }),
              ::testing::HasSubstr("descriptor 9 of process"));
  // A duplicate may belong to somebody who knows nothing of it.
  EXPECT_THAT(refusal([] {
                listen_to_nobody();
                require(::dup2(0, 9) == 9, "9: duplicate of 0");
              }),
              ::testing::HasSubstr("a listening unix socket"));
}

TEST_F(Sockets, OtherExpendableKindsAreKeptOrComeBackDead) {
  trip.carry(
      [] {
        std::array<int, 2> ends{};
        require(::pipe(ends.data()) == 0 && ::write(1, "data", 4) == 4, "0, 1: a pipe inside");
        // Another process has the other end of this one.
        require(::dup(0) == 2 && ::pipe(ends.data()) == 0, "3, 4: a pipe to the outside");
        const pid_t parent = ::getpid();
        if (::fork() == 0) {
          for (const int number : {0, 1, 2, 3}) ::close(number);
          ::prctl(PR_SET_PDEATHSIG, SIGKILL);
          while (::getppid() == parent) ::pause();  // it may have died before the call
          ::_exit(0);
        }
        ::close(4);
      },
      [] {
        std::array<char, 16> buffer{};
        require(::read(0, buffer.data(), buffer.size()) == 4, "the pipe has its data");
        expect_error(::read(3, buffer.data(), buffer.size()), EBADF, "what cannot be kept");
        require((::fcntl(3, F_GETFL) & O_PATH) != 0, "3 is taken");
      });
}

TEST_F(Sockets, TheChannelLeadsToTheRestarter) {
  trip.wishes.expendable = {};
  trip.wishes.channel = 5;
  trip.capture([] {
    std::array<int, 2> ends{};
    require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0 && ::dup2(1, 5) == 5, "pair");
    require(::fcntl(5, F_SETFD, FD_CLOEXEC) == 0, "close-on-exec");
    ::close(0), ::close(1);
  });
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const FileDescriptor mine(ends[0]);
  FileDescriptor given(ends[1]);
  trip.options.channel = given.get();
  trip.check();
  ASSERT_EQ(::write(mine.get(), "news", 4), 4);
  EXPECT_EQ(trip.restore([] {
    std::array<char, 16> buffer{};
    require(::read(5, buffer.data(), buffer.size()) == 4 && std::string(buffer.data(), 4) == "news", "news");
    require(::fcntl(5, F_GETFD) == FD_CLOEXEC, "close-on-exec");
    require(::write(5, "thanks", 6) == 6, "answer");
  }),
            "");
  given.reset();
  std::array<char, 16> buffer{};
  EXPECT_EQ(::read(mine.get(), buffer.data(), buffer.size()), 6);
  EXPECT_EQ(::read(mine.get(), buffer.data(), buffer.size()), 0) << "somebody else keeps the program's end open";
}

TEST_F(Sockets, AChannelThatNobodyGivesEnds) {
  trip.wishes.channel = 1;
  trip.carry(
      [] {
        std::array<int, 2> ends{};
        require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0, "pair");
      },
      [] {
        std::array<char, 16> buffer{};
        require(::read(1, buffer.data(), buffer.size()) == 0, "no end of file");
      });
}

TEST_F(Sockets, AChannelThatIsNoneIsAnError) {
  trip.wishes.channel = 1;
  EXPECT_THAT(refusal([] { require(::open("/dev/null", O_RDWR) == 0, "0"); }), ::testing::HasSubstr("descriptor 1"));
  EXPECT_THAT(refusal([] { require(::open("/dev/null", O_RDWR) == 0 && ::dup(0) == 1, "1"); }),
              ::testing::HasSubstr("unix stream socket"));
  trip.wishes.channel = 0;
  trip.capture([] {
    std::array<int, 2> ends{};
    require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0, "pair");
  });
  trip.options.channel = 1000;
  EXPECT_THROW(trip.check(), Error);
}

TEST_F(Sockets, ImpossibleOnesAreDamaged) {
  trip.capture([] { require(::socket(AF_UNIX, SOCK_DGRAM, 0) == 0, "0"); });
  const image::Descriptors whole = trip.image;
  const auto is_damaged = [&](std::uint32_t family, std::uint32_t type, std::uint32_t protocol) {
    trip.image = whole;
    image::DeadSocket& socket = *trip.image.mutable_descriptions(0)->mutable_dead_socket();
    socket.set_family(family), socket.set_type(type), socket.set_protocol(protocol);
    try {
      trip.check();
    } catch (const Error& error) {
      return error.kind() == ErrorKind::Damaged;
    }
    return false;
  };
  EXPECT_FALSE(is_damaged(AF_UNIX, SOCK_DGRAM, 0));
  EXPECT_TRUE(is_damaged(0, SOCK_DGRAM, 0));
  EXPECT_TRUE(is_damaged(1000, SOCK_DGRAM, 0));
  EXPECT_TRUE(is_damaged(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  EXPECT_TRUE(is_damaged(AF_UNIX, 0, 0));
  EXPECT_TRUE(is_damaged(AF_INET, SOCK_DGRAM, 0x80000000));
  // What no kernel can make comes back as a number that is taken.
  trip.image = whole;
  trip.image.mutable_descriptions(0)->mutable_dead_socket()->set_family(AF_INET);
  trip.image.mutable_descriptions(0)->mutable_dead_socket()->set_protocol(IPPROTO_TCP);
  EXPECT_EQ(trip.restore([] { require((::fcntl(0, F_GETFL) & O_PATH) != 0 && !child_notes().empty(), "0 is taken"); }),
            "");
}

}  // namespace
}  // namespace crs::engine::testing
