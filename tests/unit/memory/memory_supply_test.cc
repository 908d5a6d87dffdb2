#include "engine/resources/memory/memory_supply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace crs::engine {
namespace {

using ::testing::HasSubstr;

std::string complaint(const MemoryDemand& demand, const MemorySupply& supply) {
  try {
    check_supply(demand, supply);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(MemorySupply, ComesFromMeminfo) {
  constexpr const char* kText =
      "MemTotal: 100 kB\nMemAvailable:      50 kB\nSwapFree:  7 kB\nCommitLimit:    30 kB\nCommitted_AS:   20 kB\n";
  MemorySupply supply;
  parse_meminfo(kText, 0, supply);
  EXPECT_EQ(supply.available, 57U * 1024);
  EXPECT_EQ(supply.commit_room, ~std::uint64_t{0});
  parse_meminfo(kText, 2, supply);
  EXPECT_EQ(supply.commit_room, 10U * 1024);
}

TEST(MemorySupply, OfThisMachineIsEnoughForNothingAndNotForEverything) {
  EXPECT_EQ(complaint({}, memory_supply()), "");
  EXPECT_THAT(complaint({.content = std::uint64_t{1} << 60}, memory_supply()),
              HasSubstr("no space for the restarted program's memory"));
}

TEST(MemorySupply, EveryShortageIsNamed) {
  EXPECT_THAT(complaint({.content = 11}, {.available = 10}), HasSubstr("11 are needed, 10 bytes of memory and swap"));
  EXPECT_THAT(complaint({.content = 11}, {.group_limit = 10}), HasSubstr("control group"));
  EXPECT_THAT(complaint({.committed = 11}, {.commit_room = 10}), HasSubstr("vm.overcommit_memory"));
  EXPECT_THAT(complaint({.address_space = 11}, {.address_space = 10}), HasSubstr("RLIMIT_AS"));
  EXPECT_THAT(complaint({.data = 11}, {.data = 10}), HasSubstr("RLIMIT_DATA"));
  EXPECT_THAT(complaint({.areas = 11}, {.areas = 10}), HasSubstr("vm.max_map_count"));
  EXPECT_EQ(complaint({.content = 10, .committed = 20, .address_space = 30, .data = 20, .areas = 40},
                      {10, 10, 20, 30, 20, 60}),
            "");
}

}  // namespace
}  // namespace crs::engine
