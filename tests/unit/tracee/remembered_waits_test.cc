#include "engine/resources/threads/remembered_waits.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace crs::engine {
namespace {

class RememberedWaitsTest : public testing::Test {
 protected:
  RememberedWaitsTest() : directory_(testing::TempDir() + "waits-" + std::to_string(::getpid())) {
    std::filesystem::create_directory(directory_);
  }
  ~RememberedWaitsTest() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  std::string path_ = directory_ + "/remembered";
};

TEST_F(RememberedWaitsTest, KnowsAWaitUntilTheThreadHasSleptTwice) {
  remember_waits(path_, ::getpid(), {{.tid = 7, .call = 35, .end = 1000, .sleeps = 5}});
  const RememberedWaits waits(path_, ::getpid());
  for (const std::uint64_t sleeps : {5U, 6U}) {
    const RememberedWait* const wait = waits.find(7, sleeps);
    ASSERT_NE(wait, nullptr) << sleeps;
    EXPECT_EQ(wait->call, 35);
    EXPECT_EQ(wait->end, 1000U);
  }
  EXPECT_EQ(waits.find(7, 7), nullptr);
  EXPECT_EQ(waits.find(8, 5), nullptr);
}

TEST_F(RememberedWaitsTest, SaysNothingOfAnotherProcess) {
  remember_waits(path_, ::getppid(), {{.tid = 7, .call = 35, .end = 1000, .sleeps = 5}});
  EXPECT_EQ(RememberedWaits(path_, ::getpid()).find(7, 5), nullptr);
  EXPECT_NE(RememberedWaits(path_, ::getppid()).find(7, 5), nullptr);
}

TEST_F(RememberedWaitsTest, NothingRemovesTheFile) {
  remember_waits(path_, ::getpid(), {{.tid = 7, .call = 35, .end = 1000, .sleeps = 5}});
  remember_waits(path_, ::getpid(), {});
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(RememberedWaitsTest, IsHarmlessWithoutADirectoryAndWithAnyContent) {
  remember_waits(directory_ + "/missing/remembered", ::getpid(), {{.tid = 7, .call = 35, .end = 1000, .sleeps = 5}});
  EXPECT_EQ(RememberedWaits(directory_ + "/missing/remembered", ::getpid()).find(7, 5), nullptr);
  EXPECT_EQ(RememberedWaits({}, ::getpid()).find(7, 5), nullptr);
  EXPECT_EQ(RememberedWaits(directory_, ::getpid()).find(7, 5), nullptr);
  remember_waits(path_, ::getpid(), {{.tid = 7, .call = 35, .end = 1000, .sleeps = 5}});
  for (auto size = std::filesystem::file_size(path_); size-- > 0;) {
    std::filesystem::resize_file(path_, size);
    const RememberedWaits waits(path_, ::getpid());
    const RememberedWait* const wait = waits.find(7, 5);
    EXPECT_TRUE(wait == nullptr || wait->end == 1000) << size;
  }
}

}  // namespace
}  // namespace crs::engine
