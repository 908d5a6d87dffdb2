#include "store/extents/compression.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/error.h"
#include "store/extents/throttle.h"

namespace crs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(Compression, IsReadAsTheUserSaysIt) {
  EXPECT_EQ(parse_compression("").compression, Compression::None);
  EXPECT_EQ(parse_compression("none").compression, Compression::None);
  EXPECT_EQ(parse_compression("auto").compression, Compression::Automatic);
  EXPECT_EQ(parse_compression("zstd").compression, Compression::Zstd);
  EXPECT_EQ(parse_compression("zstd").zstd_level, 1);
  EXPECT_EQ(parse_compression("zstd:7").zstd_level, 7);
  for (const char* const wrong :
       {"lz4", "zstd:", "zstd:0", "zstd:-3", "zstd:99", "zstd:3x", "ZSTD", "auto:3", " none"}) {
    try {
      parse_compression(wrong);
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage) << wrong;
    }
  }
}

// One thread compresses a mebibyte in `compressing` to a tenth, and the disk takes a written one in `writing`.
bool is_worth_it(nanoseconds compressing, milliseconds writing) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  CompressionChoice choice(1);
  EXPECT_FALSE(choice.worth_it()) << "before anything is known";
  choice.tried(kBytes, kBytes / 10, compressing);
  for (int i = 0; i < 3; ++i) {
    choice.begin_writing();
    std::this_thread::sleep_for(writing);
    choice.end_writing(kBytes);
  }
  return choice.worth_it();
}

TEST(CompressionChoice, DependsOnDiskAndCores) {
  EXPECT_TRUE(is_worth_it(milliseconds(2), milliseconds(20)));
  EXPECT_FALSE(is_worth_it(milliseconds(200), milliseconds(5)));
}

TEST(CompressionChoice, NeverForWhatDoesNotBecomeSmaller) {
  CompressionChoice choice(2);
  choice.tried(1000, 1000, nanoseconds(1));
  choice.begin_writing();
  std::this_thread::sleep_for(milliseconds(30));
  choice.end_writing(4 << 20);
  EXPECT_FALSE(choice.worth_it());
}

TEST(Throttle, IsLeftByThoseThatNeedNotWaitAnyMore) {
  bool wanted = true;
  Throttle throttle(1000, [&] {
    if (!wanted) throw std::runtime_error("not wanted");
    wanted = false;
  });
  EXPECT_THROW(throttle.wait_for(1'000'000), std::runtime_error);
}

TEST(Throttle, KeepsToItsRate) {
  Throttle throttle(1'000'000);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 6; ++i) throttle.wait_for(20'000);  // the first need not wait
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(100));
  Throttle none(0);
  for (int i = 0; i < 100; ++i) none.wait_for(std::size_t{1} << 40);
}

}  // namespace
}  // namespace crs
