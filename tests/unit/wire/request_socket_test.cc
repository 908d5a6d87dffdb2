#include "wire/request_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "crs/error.hpp"

namespace crs::wire {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class RequestSocketTest : public ::testing::Test {
 protected:
  RequestSocketTest() {
    std::string name = std::filesystem::temp_directory_path() / "crs-unit-XXXXXX";
    runtime_ = ::mkdtemp(name.data());
  }
  ~RequestSocketTest() override { std::filesystem::remove_all(runtime_); }
  std::optional<Connection> connect(pid_t pid) const {
    return connect_to_service(pid, ::geteuid(), request_directories(runtime_, ::geteuid()), {});
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(runtime_ + "/crs"), {}));
  }

  std::string runtime_;
};

TEST_F(RequestSocketTest, IsFoundByItsProcess) {
  EXPECT_FALSE(connect(::getpid()));
  const Listening listening = listen_for_requests(runtime_);
  EXPECT_EQ(listening.path.rfind(runtime_ + "/crs/" + std::to_string(::getpid()) + "-", 0), 0U);
  const auto connection = connect(::getpid());
  ASSERT_TRUE(connection);
  EXPECT_EQ(connection->peer().pid, ::getpid());
  EXPECT_FALSE(connect(1));
}

TEST_F(RequestSocketTest, APathOfAnyLengthWorks) {
  runtime_ += "/" + std::string(200, 'x');
  std::filesystem::create_directory(runtime_);
  const Listening listening = listen_for_requests(runtime_);
  EXPECT_TRUE(connect(::getpid()));
  runtime_ = std::filesystem::path(runtime_).parent_path();
}

// In the name of this process, by another.
TEST_F(RequestSocketTest, AnImpostorIsNotTheProgram) {
  const Listening listening = listen_for_requests(runtime_);
  const std::filesystem::path name = std::to_string(::getppid()) + "-1";
  std::filesystem::rename(listening.path, runtime_ / ("crs" / name));
  EXPECT_FALSE(connect(::getppid()));
}

// Whatever somebody has put in the directory's place.
TEST_F(RequestSocketTest, WithoutAPrivateDirectoryItHasAnAbstractName) {
  const std::string path = runtime_ + "/crs";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  {
    const Listening listening = listen_for_requests(runtime_);
    EXPECT_FALSE(listening.directory);
    EXPECT_EQ(listening.path.rfind("@crs-requests/" + std::to_string(::getpid()) + "-", 0), 0U);
    EXPECT_TRUE(listens_for_requests(::getpid()));
    const auto connection = connect(::getpid());
    ASSERT_TRUE(connection);
    EXPECT_EQ(connection->peer().pid, ::getpid());
  }
  EXPECT_FALSE(listens_for_requests(::getpid()));
  EXPECT_FALSE(connect(::getpid()));
}

// It has the socket open, but did not make it.
TEST_F(RequestSocketTest, AnAbstractNameOfAnotherProcessIsNotTheProgram) {
  std::ofstream(runtime_ + "/crs").put('x');
  const Listening listening = listen_for_requests(runtime_);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::pause());
  EXPECT_FALSE(connect(child));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(RequestSocketTest, ADirectoryThatIsOpenToOthersIsRefused) {
  const std::string path = runtime_ + "/crs";
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0750), 0);
  EXPECT_THAT([&] { open_request_directory(path, ::geteuid()); },
              ThrowsMessage<Error>(HasSubstr("open to other users (mode 750)")));
  EXPECT_THAT([&] { open_request_directory(path, ::geteuid() + 1); },
              ThrowsMessage<Error>(HasSubstr("belongs to user")));
}

TEST_F(RequestSocketTest, ALinkIsNoDirectory) {
  std::filesystem::create_directory(runtime_ + "/elsewhere");
  std::filesystem::permissions(runtime_ + "/elsewhere", std::filesystem::perms::owner_all);
  std::filesystem::create_directory_symlink(runtime_ + "/elsewhere", runtime_ + "/crs");
  EXPECT_THAT([&] { open_request_directory(runtime_ + "/crs", ::geteuid()); },
              ThrowsMessage<Error>(HasSubstr("cannot be used")));
}

TEST_F(RequestSocketTest, WhatAnEndedProgramLeftIsClearedAway) {
  const pid_t child = ::fork();
  if (child == 0) {
    const Listening listening = listen_for_requests(runtime_);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(entries(), 1U);
  const Listening listening = listen_for_requests(runtime_);
  EXPECT_EQ(entries(), 1U);
  EXPECT_TRUE(std::filesystem::exists(listening.path));
}

// Before a restart under the same process id; what this process has now is another's business.
TEST_F(RequestSocketTest, WhatThisProcessLeftIsClearedAway) {
  std::string left;
  {
    const Listening before = listen_for_requests(runtime_);
    left = before.path;
  }
  EXPECT_TRUE(std::filesystem::exists(left));
  const Listening first = listen_for_requests(runtime_);
  const Listening second = listen_for_requests(runtime_);
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE(std::filesystem::exists(first.path));
  EXPECT_EQ(entries(), 2U);
}

}  // namespace
}  // namespace crs::wire
