// Pipes, FIFOs, standard streams, and what is refused.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "descriptors/round_trip.h"
#include "engine/resources/descriptors/pipes/content.h"

namespace crs::engine::testing {
namespace {

using ::testing::HasSubstr;

std::string take(int descriptor, std::size_t bytes = 65536) {
  std::string text(bytes, '\0');
  const ssize_t got = ::read(descriptor, text.data(), bytes);
  require(got >= 0, "read");
  text.resize(static_cast<std::size_t>(got));
  return text;
}

void put(int descriptor, std::string_view text) {
  require(::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write");
}

void make_pipe(int flags = 0) {
  std::array<int, 2> ends{};
  require(::pipe2(ends.data(), flags) == 0, "pipe");
}

short readiness(int descriptor) {
  pollfd one{descriptor, POLLIN | POLLOUT, 0};
  require(::poll(&one, 1, 0) >= 0, "poll");
  return one.revents;
}

std::string refusal_of(RoundTrip& trip, const std::function<void()>& set_up) {
  try {
    trip.capture(set_up);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::Refused ? error.what() : fmt::format("not a refusal: {}", error.what());
  }
  return "captured";
}

class Pipes : public ::testing::Test {
 protected:
  RoundTrip trip;
};

TEST_F(Pipes, KeepDataCapacityFlagsAndNativeEnds) {
  trip.carry(
      [] {
        make_pipe(O_NONBLOCK | O_CLOEXEC);
        require(::fcntl(1, F_SETPIPE_SZ, 16384) == 16384, "capacity");
        for (int i = 0; i < 4096; ++i) put(1, "1234");
        make_pipe();
        put(3, "second");
        require(::open("/proc/self/fd/3", O_WRONLY | O_NONBLOCK) == 4 && ::open("/proc/self/fd/2", O_RDWR) == 5,
                "again");
      },
      [] {
        require(::fcntl(0, F_GETPIPE_SZ) == 16384 && ::write(1, "x", 1) < 0 && errno == EAGAIN, "full");
        require(::fcntl(1, F_GETFL) == (O_WRONLY | O_NONBLOCK) && ::fcntl(0, F_GETFD) == FD_CLOEXEC, "flags");
        require(::fcntl(2, F_GETFL) == O_RDONLY && ::fcntl(3, F_GETFL) == O_WRONLY, "native");
        require(
            (::fcntl(4, F_GETFL) & ~0100000) == (O_WRONLY | O_NONBLOCK) && (::fcntl(5, F_GETFL) & O_ACCMODE) == O_RDWR,
            "reopened");
        const std::string all = take(0);
        require(all.size() == 16384 && all.substr(16380) == "1234", "data");
        put(4, "+");
        require(take(2) == "second+", "data");
        put(3, "x");
        require(take(5) == "x", "one pipe");
        ::close(1);
        require(take(0).empty(), "end of file");
      });
}

TEST_F(Pipes, KeepPacketBoundaries) {
  trip.carry(
      [] {
        make_pipe(O_DIRECT);
        put(1, "one");
        put(1, "three");
        put(1, std::string(4096, 'x'));
      },
      [] {
        require(::fcntl(1, F_GETFL) == (O_WRONLY | O_DIRECT), "mode");
        require(take(0) == "one" && take(0, 2) == "th" && take(0).size() == 4096, "packets");
      });
}

TEST_F(Pipes, TheOriginalKeepsItsData) {
  // Captured twice from one process would need it alive: capture() itself reads nothing out, seen by the image of a
  // second capture.
  trip.capture([] {
    make_pipe();
    put(1, "stays");
    if (::fork() == 0) {
      // Still there after the parent was captured: it is, at the latest, when the parent has been killed.
      ::close(1);
      while (::getppid() != 1 && (readiness(0) & POLLHUP) == 0) ::usleep(1000);
      ::_exit(take(0) == "stays" ? 0 : 1);
    }
  });
  EXPECT_EQ(trip.image.pipes(0).pieces(0).data(), "stays");
}

// Of a user of its own: how much all pipes of one may take is limited (pipe(7)).
TEST_F(Pipes, AreCopiedWhereTheUserMayHaveNoMore) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs to become another user";
  constexpr uid_t kUser = 61299;
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      require(::setgroups(0, nullptr) == 0 && ::setresuid(kUser, kUser, kUser) == 0, "becoming another user");
      std::array<int, 2> ends{};
      require(::pipe2(ends.data(), 0) == 0, "pipe");
      const int capacity = ::fcntl(ends[0], F_GETPIPE_SZ);
      put(ends[1], "some words");
      // Until they are made small.
      std::array<int, 2> more{};
      do require(::pipe2(more.data(), 0) == 0, "one more pipe");
      while (::fcntl(more[0], F_GETPIPE_SZ) == capacity);
      image::Pipe pipe;
      copy_pipe_content(ends[0], false, "the pipe", pipe);
      const bool is_right = pipe.pieces_size() == 1 && pipe.pieces(0).data() == "some words" &&
                            pipe.capacity() == static_cast<std::uint64_t>(capacity) && take(ends[0]) == "some words";
      ::_exit(is_right ? 0 : 1);
    } catch (const std::exception& problem) {
      ::dprintf(STDERR_FILENO, "%s\n", problem.what());
      ::_exit(2);
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Pipes, HalfClosed) {
  trip.carry(
      [] {
        make_pipe();
        put(1, "left");
        ::close(1);
        make_pipe();
        require(::dup2(2, 7) == 7, "dup");
        ::close(1), ::close(7), ::close(2);
      },
      [] { require(take(0) == "left" && take(0).empty() && (readiness(0) & POLLHUP) != 0, "reading end"); });
  RoundTrip other;
  other.carry(
      [] {
        make_pipe();
        ::close(0);
      },
      [] {
        ::signal(SIGPIPE, SIG_IGN);
        require((readiness(1) & POLLERR) != 0 && ::write(1, "x", 1) < 0 && errno == EPIPE, "writing end");
      });
}

TEST_F(Pipes, Fifos) {
  const std::string path = trip.folder / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  trip.carry(
      [&] {
        require(::open(path.c_str(), O_RDWR) == 0 && ::open(path.c_str(), O_WRONLY) == 1 &&
                    ::open(path.c_str(), O_RDONLY) == 2,
                "open");
        put(1, "in it");
      },
      [&] {
        require(take(2) == "in it", "data");
        require((::fcntl(2, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_RDONLY, "flags");
        require(read_link("/proc/self/fd/1") == path, "path");
        const int writer = ::open(path.c_str(), O_WRONLY | O_NONBLOCK);
        require(writer >= 0, "others reach it");
        put(writer, "from outside");
        require(take(0) == "from outside", "by its path");
      });
}

TEST_F(Pipes, EndsThatLeadOutsideAreRefused) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const FileDescriptor read_end(ends[0]);
  const FileDescriptor write_end(ends[1]);
  // The set-up runs with an empty table; it gets the reading end through the parent's.
  const std::string mine = fmt::format("/proc/{}/fd/{}", ::getpid(), read_end.get());
  EXPECT_THAT(refusal_of(trip,
                         [&] {
                           const int opened = ::open(mine.c_str(), O_RDONLY);
                           require(opened == 0 && ::dup2(0, 5) == 5, "open");
                           ::close(0);
                         }),
              AllOf(HasSubstr("descriptor 5 of process"), HasSubstr("the reading end of pipe pipe:["),
                    HasSubstr("--leave-out fd=5")));
}

TEST_F(Pipes, StandardStreamsAreTheRestartCommands) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const std::string reading = fmt::format("/proc/{}/fd/{}", ::getpid(), ends[0]);
  const std::string writing = fmt::format("/proc/{}/fd/{}", ::getpid(), ends[1]);
  ASSERT_EQ(refusal_of(trip,
                       [&] {
                         require(::open(reading.c_str(), O_RDONLY | O_NONBLOCK) == 0, "open");
                         // A process's other descriptors of the same thing follow.
                         require(::dup(0) == 1 && ::dup2(1, 9) == 9 && ::close(1) == 0, "dup");
                         require(::open("/dev/null", O_WRONLY) == 1, "open");
                       }),
            "captured");
  trip.check();
  std::array<int, 2> here{};
  ASSERT_EQ(::pipe(here.data()), 0);
  ASSERT_EQ(::write(here[1], "from here", 9), 9);
  trip.standard_streams = {here[0], -1, -1};
  EXPECT_EQ(trip.restore([] {
    require(take(9, 4) == "from", "the stream, also at 9");
    require((::fcntl(0, F_GETFL) & O_NONBLOCK) != 0, "flags");
    require(take(0) == " here", "the stream");
  }),
            "");
  EXPECT_EQ(::fcntl(here[0], F_GETFL) & O_NONBLOCK, 0) << "the caller's own description was touched";

  trip.standard_streams = {-1, -1, -1};
  EXPECT_EQ(trip.restore([] {
    require(take(0).empty(), "null");
    require(child_notes().size() == 1, fmt::format("{} notes", child_notes().size()));
    require(child_notes()[0].find("/dev/null") != std::string::npos, child_notes()[0]);
  }),
            "");
  const FileDescriptor file = open_file(trip.folder / "input", O_RDWR | O_CREAT);
  put(file.get(), "in a file");
  ::lseek(file.get(), 3, SEEK_SET);
  trip.standard_streams = {file.get(), -1, -1};
  EXPECT_EQ(trip.restore([] { require(take(0) == "a file", "goes on at the caller's offset"); }), "");
  for (const int end : {ends[0], ends[1], here[0], here[1]}) ::close(end);
}

class Terminals : public Pipes {
 protected:
  void SetUp() override {
    int their_master = -1;
    int their_terminal = -1;
    int master = -1;
    int terminal = -1;
    ASSERT_EQ(::openpty(&their_master, &their_terminal, nullptr, nullptr, nullptr), 0);
    ASSERT_EQ(::openpty(&master, &terminal, nullptr, nullptr, nullptr), 0);
    their_master_.reset(their_master);
    their_terminal_.reset(their_terminal);
    master_.reset(master);
    terminal_.reset(terminal);
    theirs_ = ::ptsname(their_master);
  }

  FileDescriptor their_master_, their_terminal_, master_, terminal_;
  std::string theirs_;
};

TEST_F(Terminals, AreTheRestartCommands) {
  ASSERT_EQ(refusal_of(trip,
                       [&] {
                         require(::open(theirs_.c_str(), O_RDWR | O_NOCTTY) == 0 && ::dup(0) == 1 && ::dup(0) == 2 &&
                                     ::dup2(0, 10) == 10,
                                 "open");
                         require(::open(theirs_.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK) == 3, "open");
                       }),
            "captured");
  trip.check();
  const FileDescriptor log = open_file(trip.folder / "log", O_RDWR | O_CREAT);
  trip.standard_streams = {terminal_.get(), log.get(), terminal_.get()};
  const std::string here = ::ptsname(master_.get());
  EXPECT_EQ(trip.restore([&] {
    for (const int number : {0, 2, 3, 10})
      require(read_link(fmt::format("/proc/self/fd/{}", number)) == here, "terminal");
    require((::fcntl(0, F_GETFL) & O_NONBLOCK) == 0 && (::fcntl(3, F_GETFL) & O_NONBLOCK) != 0, "flags");
    require(::fcntl(0, F_SETFL, O_NONBLOCK) == 0 && (::fcntl(2, F_GETFL) & O_NONBLOCK) != 0,
            "0 and 2 are one description again");
    put(1, "redirected");
  }),
            "");
  EXPECT_EQ(::fcntl(terminal_.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(read_file(trip.folder / "log"), "redirected");
  EXPECT_EQ(trip.image.descriptions(0).standard_stream().stream(), 0);
  EXPECT_TRUE(trip.image.descriptions(0).standard_stream().has_terminal());
}

TEST_F(Terminals, OthersAreRefused) {
  EXPECT_THAT(refusal_of(trip,
                         [&] {
                           require(
                               ::open(theirs_.c_str(), O_RDWR | O_NOCTTY) == 0 && ::dup2(0, 5) == 5 && ::close(0) == 0,
                               "open");
                         }),
              HasSubstr("terminal " + theirs_ + ", which is none of the program's standard streams"));
  EXPECT_THAT(
      refusal_of(trip, [&] { require(::open("/dev/ptmx", O_RDWR | O_NOCTTY) == 0 && ::unlockpt(0) == 0, "open"); }),
      HasSubstr("the master of a pseudo-terminal"));
}

TEST_F(Pipes, SocketsAndOthersAreRefusedByName) {
  const FileDescriptor listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  trip.wishes.tcp = TcpPolicy::Refuse;
  EXPECT_THAT(refusal_of(trip,
                         [&] {
                           // Descriptor 0 is no socket, so that none is a standard stream.
                           require(::open("/dev/null", O_RDONLY) == 0 &&
                                       ::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY) == 1,
                                   "userfaultfd");
                           const int connection = ::socket(AF_INET, SOCK_STREAM, 0);
                           require(::connect(connection, reinterpret_cast<sockaddr*>(&address), size) == 0, "connect");
                           require(::dup2(connection, 12) == 12, "dup");
                           ::close(connection);
                         }),
              AllOf(HasSubstr("descriptor 1 of process"), HasSubstr("a userfaultfd"),
                    HasSubstr("an established TCP connection 127.0.0.1:"), HasSubstr(" -> 127.0.0.1:")));
  trip.leave_out = {"fd=1"};
  // What is left out is not looked at.
  trip.carry(
      [] {
        require(::open("/dev/null", O_RDONLY) == 0 && ::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY) == 1,
                "userfaultfd");
      },
      [] { require(::fcntl(1, F_GETFL) >= 0 && ::write(1, "x", 1) < 0, "dead"); });
}

TEST_F(Pipes, SignalsOnInputAreKept) {
  trip.carry(
      [] {
        make_pipe();
        require(::fcntl(0, F_SETOWN, ::getpid()) == 0 && ::fcntl(0, F_SETSIG, SIGUSR2) == 0, "owner");
        require(::fcntl(0, F_SETFL, O_ASYNC | O_NONBLOCK) == 0, "flags");
      },
      [] {
        require(::fcntl(0, F_GETOWN) == ::getpid() && ::fcntl(0, F_GETSIG) == SIGUSR2, "owner");
        require(::fcntl(0, F_GETFL) == (O_ASYNC | O_NONBLOCK), "flags");
        put(1, "x");
        sigset_t pending;
        require(::sigpending(&pending) == 0 && ::sigismember(&pending, SIGUSR2) == 1, "told");
      });
}

}  // namespace
}  // namespace crs::engine::testing
