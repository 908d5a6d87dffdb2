#include "cli/format.h"

#include <gtest/gtest.h>

namespace crs::cli {
namespace {

TEST(HumanBytes, HasTwoOrThreeDigits) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(224395264), "214 MiB");
  EXPECT_EQ(human_bytes((std::uint64_t{1} << 30) - 1), "1.0 GiB");
  EXPECT_EQ(human_bytes(~std::uint64_t{0}), "16 EiB");
}

TEST(HumanSeconds, IsNeverZeroForWhatTookTime) {
  EXPECT_EQ(human_seconds(110'000'000), "0.11 s");
  EXPECT_EQ(human_seconds(4'000'000), "0.0040 s");
  EXPECT_EQ(human_seconds(12'345'000'000), "12 s");
}

TEST(ShellQuoted, QuotesOnlyWhereNeeded) {
  EXPECT_EQ(shell_quoted("./sim"), "./sim");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("a b"), "'a b'");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
}

}  // namespace
}  // namespace crs::cli
