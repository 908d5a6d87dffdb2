#include "service/after_fork.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file_descriptor.h"

namespace crs::testing {
namespace {

// A child of _Fork(3) has numbers of its own behind those that its parent wanted closed in children.
TEST(AfterFork, ClosesNothingInTheChildrenOfAForkedProcess) {
  const FileDescriptor opened(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = opened.get();
  const ClosedAfterFork closed(number);
  const pid_t child = ::_Fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(10);
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(::fcntl(number, F_GETFD) >= 0 ? 0 : 1);
    int status = -1;
    ::waitpid(grandchild, &status, 0);
    ::_exit(status == 0 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace crs::testing
