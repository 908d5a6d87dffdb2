#include "cli/format.h"

#include <gtest/gtest.h>

#include "base/error.h"

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

TEST(Rate, IsReadWithItsUnit) {
  EXPECT_EQ(parse_rate("200MiB/s"), std::uint64_t{200} << 20);
  EXPECT_EQ(parse_rate("1.5 GB"), 1500000000U);
  EXPECT_EQ(parse_rate("3000B/s"), 3000U);
  // Bytes that were to be megabytes.
  EXPECT_THROW(parse_rate("5"), Error);
  EXPECT_THROW(parse_rate("3B/s"), Error);
  for (const char* const wrong :
       {"", "MiB", "0", "0.1", "-5MB", "5 apples", "5MB/h", "1e30", "nan", "inf", "99999999TiB"})
    EXPECT_THROW(parse_rate(wrong), Error) << wrong;
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
