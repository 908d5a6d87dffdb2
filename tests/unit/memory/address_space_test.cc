#include "engine/resources/memory/address_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {
namespace {

using image::Area;

constexpr std::uint64_t kMiB = 1 << 20;

RemoteRange range(std::uint64_t start, std::uint64_t end) { return {{start}, {end}}; }

TEST(FreeRanges, AreTheComplement) {
  const auto free =
      free_ranges({range(8 * kMiB, 9 * kMiB), range(kMiB, 2 * kMiB), range(kMiB, 3 * kMiB), range(3 * kMiB, 4 * kMiB)});
  ASSERT_EQ(free.size(), 3U);
  EXPECT_EQ(free[0].start.value, 0U);
  EXPECT_EQ(free[0].end.value, kMiB);
  EXPECT_EQ(free[1].start.value, 4 * kMiB);
  EXPECT_EQ(free[1].end.value, 8 * kMiB);
  EXPECT_EQ(free[2].end, kAddressLimit);
  EXPECT_EQ(free_ranges({}).size(), 1U);
  EXPECT_TRUE(free_ranges({range(0, kAddressLimit.value)}).empty());
  EXPECT_EQ(free_ranges({range(0, kMiB), {kAddressLimit, {~std::uint64_t{0}}}}).size(), 1U);
}

TEST(FindFree, ComesAsNearAsItCan) {
  const std::vector<RemoteRange> taken{range(100 * kMiB, 200 * kMiB), range(201 * kMiB, 300 * kMiB)};
  EXPECT_EQ(find_free(taken, kPageSize, {400 * kMiB})->value, 400 * kMiB);
  EXPECT_EQ(find_free(taken, kPageSize, {150 * kMiB + 4 * kMiB})->value, 200 * kMiB + kPageSize);
  EXPECT_EQ(find_free(taken, kMiB, {199 * kMiB})->value, 99 * kMiB - kPageSize);
  EXPECT_EQ(find_free(taken, kPageSize, {0})->value, 16 * kMiB + 0);
  EXPECT_FALSE(find_free(taken, kAddressLimit.value, {0}));
}

// A sound image, to be spoilt.
image::Memory sound() {
  image::Memory memory;
  memory.add_files()->set_path("/usr/bin/true");
  memory.add_shared()->set_size(2 * kPageSize);
  const auto add = [&](std::uint64_t start, std::uint64_t end, Area::Kind kind) {
    Area& area = *memory.add_areas();
    area.set_start(start);
    area.set_end(end);
    area.set_kind(kind);
    area.set_protection(3);
  };
  add(0x10000, 0x12000, Area::ANONYMOUS);
  add(0x12000, 0x13000, Area::PRIVATE_FILE);
  add(0x20000, 0x22000, Area::SHARED_MEMORY);
  add(0x30000, 0x31000, Area::SHARED_CONTENT);
  image::KernelAreas::Part& part = *memory.mutable_kernel()->add_parts();
  part.set_name("[vdso]");
  part.set_start(0x40000);
  part.set_end(0x41000);
  memory.mutable_kernel()->set_code(std::string(kPageSize, 'c'));
  return memory;
}

bool is_damaged(const image::Memory& memory) {
  try {
    validate(memory, 1);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Damaged) << error.what();
    return true;
  }
  return false;
}

TEST(Validate, AcceptsASoundImage) {
  EXPECT_FALSE(is_damaged(sound()));
  EXPECT_FALSE(is_damaged(image::Memory()));
  EXPECT_EQ(occupied_ranges(sound()).size(), 5U);
}

TEST(Validate, RefusesEverythingThatCannotBe) {
  const std::vector<std::function<void(image::Memory&)>> spoilers{
      [](image::Memory& memory) { memory.mutable_areas(0)->set_start(0x10001); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_end(0x12001); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_end(0x10000); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_end(0x13000); },
      [](image::Memory& memory) { memory.mutable_areas(3)->set_end(0xfffffffffffff000); },
      [](image::Memory& memory) { memory.mutable_areas(3)->set_end(0x50000); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_kind(Area::UNKNOWN); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_kind(static_cast<Area::Kind>(77)); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_backing(1); },
      [](image::Memory& memory) { memory.mutable_areas(1)->set_backing(1); },
      [](image::Memory& memory) { memory.mutable_areas(2)->set_backing(1); },
      [](image::Memory& memory) { memory.mutable_areas(3)->set_backing(1); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_protection(8); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_protection_key(16); },
      [](image::Memory& memory) { memory.mutable_areas(1)->set_offset(1); },
      [](image::Memory& memory) { memory.mutable_areas(1)->set_offset(0xfffffffffffff000); },
      [](image::Memory& memory) { memory.mutable_areas(2)->set_offset(kPageSize); },
      [](image::Memory& memory) { memory.mutable_areas(2)->set_offset(4 * kPageSize); },
      [](image::Memory& memory) { memory.mutable_shared(0)->set_size(0); },
      [](image::Memory& memory) { memory.mutable_shared(0)->set_size(0xfffffffffffff000); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_name(std::string(80, 'n')); },
      [](image::Memory& memory) { memory.mutable_files(0)->set_path("relative"); },
      [](image::Memory& memory) { memory.mutable_files(0)->set_path(std::string("/a\0b", 4)); },
      [](image::Memory& memory) { memory.mutable_kernel()->set_code("short"); },
      [](image::Memory& memory) { memory.mutable_kernel()->mutable_parts(0)->set_end(0xffffffffff000); },
      [](image::Memory& memory) { memory.mutable_kernel()->mutable_parts(0)->set_start(0x30000); },
      [](image::Memory& memory) { memory.add_guards()->set_start(0x10000); },
      [](image::Memory& memory) { memory.mutable_layout()->set_auxiliary_vector(std::string(881, 'a')); },
  };
  for (std::size_t i = 0; i < spoilers.size(); ++i) {
    image::Memory memory = sound();
    spoilers[i](memory);
    EXPECT_TRUE(is_damaged(memory)) << "spoiler " << i;
  }
}

}  // namespace
}  // namespace crs::engine
