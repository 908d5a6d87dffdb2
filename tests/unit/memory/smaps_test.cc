#include "engine/resources/memory/smaps.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "engine/resources/memory/huge_pages.h"

namespace crs::engine {
namespace {

constexpr const char* kText =
    "555b7224d000-555b72250000 r-xp 00003000 fe:01 248030                     /usr/bin/a name (deleted)\n"
    "7fd04aae3000-7fd04aaf0000 ---s 00000000 00:00 0 \n"
    "7ffd40237000-7ffd40258000 rw-p 00000000 00:00 0                          [stack]\n";

TEST(Maps, AreParsed) {
  const std::vector<MapsLine> lines = parse_maps(kText);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0].range.start.value, 0x555b7224d000U);
  EXPECT_EQ(lines[0].range.end.value, 0x555b72250000U);
  EXPECT_EQ(lines[0].protection, PROT_READ | PROT_EXEC);
  EXPECT_FALSE(lines[0].shared);
  EXPECT_EQ(lines[0].offset, 0x3000U);
  EXPECT_EQ(lines[0].device, makedev(0xfe, 1));
  EXPECT_EQ(lines[0].inode, 248030U);
  EXPECT_EQ(lines[0].name, "/usr/bin/a name (deleted)");
  EXPECT_EQ(lines[1].protection, PROT_NONE);
  EXPECT_TRUE(lines[1].shared);
  EXPECT_EQ(lines[1].name, "");
  EXPECT_EQ(lines[2].name, "[stack]");
}

TEST(Maps, RefusesOtherText) {
  for (const char* text : {"hello\n", "1000 2000 rwxp 0 0:0 0\n", "1000-2000 rw\n", "1000-2000 rwxp 0 0:0\n", "\n"}) {
    EXPECT_THROW(parse_maps(text), Error) << text;
  }
}

TEST(Maps, GiveFlagsKeysAndSwap) {
  const std::vector<MappedArea> areas = parse_smaps(
      "7fd04aae3000-7fd04aaf0000 rw-p 00000000 00:00 0 \n"
      "Size:                 52 kB\nKernelPageSize:     2048 kB\nMMUPageSize:           4 kB\nSwap:                 12 "
      "kB\nSwapPss:   8 kB\nTHPeligible:    0\nProtectionKey:    "
      "     3\n"
      "VmFlags: rd wr mr mw me lo dc \n"
      "abc000-abd000 rw-p 00000000 00:00 0 \nVmFlags: rd \n");
  ASSERT_EQ(areas.size(), 2U);
  EXPECT_TRUE(areas[0].has("lo"));
  EXPECT_TRUE(areas[0].has("dc"));
  EXPECT_TRUE(areas[0].has("rd"));
  EXPECT_FALSE(areas[0].has("ex"));
  EXPECT_FALSE(areas[0].has("o d"));
  EXPECT_EQ(areas[0].protection_key, 3U);
  EXPECT_EQ(areas[0].swapped_bytes, 12U * 1024);
  EXPECT_EQ(areas[0].page_bytes, 2U << 20);
  EXPECT_EQ(areas[1].page_bytes, kPageSize);
  EXPECT_EQ(areas[1].range.start.value, 0xabc000U);
  EXPECT_FALSE(areas[1].has("lo"));
}

TEST(HugePages, AreNotToldByAName) {
  const std::vector<MappedArea> areas = parse_smaps(
      "7f0000000000-7f0000200000 rw-p 00000000 00:10 5 /anon_hugepage (deleted)\nVmFlags: rd wr mr mw me de ht \n"
      "7f0000200000-7f0000400000 rw-p 00000000 08:01 6 /anon_hugepage (deleted)\nVmFlags: rd wr mr mw me \n");
  ASSERT_EQ(areas.size(), 2U);
  EXPECT_TRUE(is_anonymous_huge(areas[0]));
  EXPECT_FALSE(is_anonymous_huge(areas[1]));
}

TEST(Maps, OfThisProcessAgreeWithItsSmaps) {
  const std::vector<MappedArea> detailed = read_smaps(::getpid());
  const auto stack = std::ranges::find(detailed, "[stack]", &MappedArea::name);
  ASSERT_NE(stack, detailed.end());
  EXPECT_TRUE(stack->has("gd"));
  const std::vector<MapsLine> lines = read_maps(::getpid());
  EXPECT_NE(std::ranges::find(lines, "[vdso]", &MapsLine::name), lines.end());
}

}  // namespace
}  // namespace crs::engine
