// What unix sockets have in the file system: their nodes are told apart, made in a folder of their own, and taken away
// again if a restart fails.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/file_descriptor.h"
#include "base/io.h"
#include "descriptors/round_trip.h"
#include "engine/resources/descriptors/unix_sockets/private_node.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"
#include "engine/resources/descriptors/unix_sockets/unix_diag.h"

namespace crs::engine::testing {
namespace {

using ::testing::HasSubstr;

FileDescriptor new_socket() { return FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

void bind_to(int socket, const std::string& sun_path) {
  const UnixAddress address(sun_path);
  require(::bind(socket, address.get(), address.size) == 0, "bind");
}

std::string name_of(int socket) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  require(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  return sun_path_of(address, size);
}

UnixNode node_of(int socket) {
  struct stat status{};
  require(::fstat(socket, &status) == 0, "fstat");
  return look_at_unix_sockets().at(static_cast<std::uint32_t>(status.st_ino)).node.value();
}

bool is_empty(const std::string& folder) { return std::filesystem::is_empty(folder); }

TEST(UnixNodes, AreToldByTheirFileSystemToo) {
  const TestFolder folder;
  const FileDescriptor socket = new_socket();
  bind_to(socket.get(), folder / "socket");
  UnixNode node = node_of(socket.get());
  EXPECT_TRUE(stands_at(node, folder / "socket"));
  EXPECT_TRUE(is_bound_by_somebody(folder / "socket"));
  EXPECT_FALSE(stands_at(node, folder / "nothing"));
  EXPECT_FALSE(stands_at(node, folder.path()));
  node.device ^= 1;
  EXPECT_FALSE(stands_at(node, folder / "socket"));
}

TEST(UnixNodes, ARelativePathIsBoundInAFolderOfItsOwn) {
  for (const std::string name : {"plain", "deep/er/name", "../../up/name", "deep/../../x", "./here"}) {
    const TestFolder folder;
    ASSERT_EQ(::chmod(folder.path().c_str(), S_ISGID | 0755), 0);  // which new folders in it get from it
    const FileDescriptor socket = new_socket();
    {
      const PrivateNode node(socket.get(), name, folder.path());
      ASSERT_TRUE(node.is_bound()) << name << ": " << std::strerror(node.problem());
      node.move_to(folder / "moved");
      EXPECT_TRUE(stands_at(node_of(socket.get()), folder / "moved")) << name;
    }
    EXPECT_EQ(name_of(socket.get()), name);
    EXPECT_EQ(::unlink((folder / "moved").c_str()), 0) << name;
    EXPECT_TRUE(is_empty(folder.path())) << name;
  }
}

TEST(UnixNodes, AnAbsolutePathNeedNotBeFreeOrExist) {
  const TestFolder folder;
  const FileDescriptor living = new_socket();
  bind_to(living.get(), folder / "taken");
  const TestFolder around;
  for (const std::string& name : {folder / "taken", folder / "missing/name", std::string("/../above/./name")}) {
    const FileDescriptor socket = new_socket();
    FileDescriptor opened;
    {
      const PrivateNode node(socket.get(), name, around.path());
      if (node.problem() == EPERM || node.problem() == ENOSPC) GTEST_SKIP() << "this user has no user namespaces";
      ASSERT_TRUE(node.is_bound()) << name << ": " << std::strerror(node.problem());
      opened = node.open();
    }
    EXPECT_EQ(name_of(socket.get()), name);
    EXPECT_TRUE(is_empty(around.path())) << name;
    ASSERT_EQ(::listen(socket.get(), 1), 0);
    const UnixAddress address("/proc/self/fd/" + std::to_string(opened.get()));
    EXPECT_EQ(::connect(new_socket().get(), address.get(), address.size), 0) << name;
  }
  EXPECT_TRUE(stands_at(node_of(living.get()), folder / "taken"));
  EXPECT_FALSE(std::filesystem::exists(folder / "missing"));
}

TEST(UnixNodes, WhatCannotBeBoundLeavesNothing) {
  const TestFolder folder;
  for (const std::string& name :
       {std::string(".."), std::string("/"), std::string("folder/"), std::string(107, 'x') + "/"})
    EXPECT_FALSE(PrivateNode(new_socket().get(), name, folder.path()).is_bound()) << name;
  EXPECT_FALSE(PrivateNode(new_socket().get(), "name", folder / "missing").is_bound());
  EXPECT_TRUE(is_empty(folder.path()));
}

// A name in the abstract namespace is found to be taken when others have been made already.
TEST(UnixNodes, OfARestartThatFailsAreTakenAway) {
  RoundTrip trip;
  const TestFolder nodes;
  const std::string taken = std::string("\0crs-test-", 10) + std::to_string(::getpid());
  trip.capture([&] {
    const std::array<std::string, 4> names{nodes / "listening", nodes / "before", nodes / "unlinked", taken};
    for (std::size_t i = 0; i < names.size(); ++i) {
      require(::socket(AF_UNIX, SOCK_STREAM, 0) == static_cast<int>(i), "socket");
      bind_to(static_cast<int>(i), names.at(i));
      require(::listen(static_cast<int>(i), 1) == 0, "listen");
    }
    require(::rename(names[1].c_str(), (nodes / "moved").c_str()) == 0 && ::unlink(names[2].c_str()) == 0, "rename");
  });
  const FileDescriptor other = new_socket();
  bind_to(other.get(), taken);
  trip.check();
  EXPECT_THAT(trip.restore([] {}), HasSubstr("of the program's unix socket is in use"));
  EXPECT_TRUE(is_empty(nodes.path()));
}

// A machine where fewer may wait than did.
TEST(UnixNodes, AConnectionForWhichThereIsNoRoomIsAnError) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may say how many may wait";
  RoundTrip trip;
  const TestFolder nodes;
  trip.capture([&] {
    require(::socket(AF_UNIX, SOCK_STREAM, 0) == 0, "socket");
    bind_to(0, nodes / "listening");
    require(::listen(0, 20) == 0, "listen");
    const UnixAddress address(nodes / "listening");
    for (int i = 1; i <= 20; ++i) {
      require(::socket(AF_UNIX, SOCK_STREAM, 0) == i, "socket");
      require(::connect(i, address.get(), address.size) == 0, "connect");
    }
  });
  trip.check();
  const auto let_fewer_wait = [] {
    require(::unshare(CLONE_NEWNET) == 0, "unshare");
    const FileDescriptor most = open_file("/proc/sys/net/core/somaxconn", O_WRONLY);
    write_all(most.get(), "somaxconn", as_byte_span("5"));
  };
  EXPECT_THAT(trip.restore([] {}, let_fewer_wait), HasSubstr("has no room for another waiting connection"));
  EXPECT_TRUE(is_empty(nodes.path()));
}

}  // namespace
}  // namespace crs::engine::testing
