#include "engine/resources/memory/address_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/resources/memory/huge_pages.h"
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

// The same with huge pages, private and shared.
image::Memory sound_with_huge_pages() {
  image::Memory memory = sound();
  memory.mutable_shared(0)->set_huge_page_bytes(2 * kMiB);
  memory.mutable_shared(0)->set_size(4 * kMiB);
  const auto place = [&](int index, std::uint64_t start, std::uint64_t end) {
    Area& area = *memory.mutable_areas(index);
    area.set_start(start);
    area.set_end(end);
    area.set_huge_page_bytes(2 * kMiB);
  };
  memory.mutable_areas()->DeleteSubrange(3, 1);
  memory.mutable_areas()->DeleteSubrange(1, 1);
  place(0, 2 * kMiB, 4 * kMiB);
  place(1, 4 * kMiB, 8 * kMiB);
  return memory;
}

// A view of a file of huge pages.
Area& view_of_huge_file(image::Memory& memory) {
  Area& area = *memory.add_areas();
  area.set_start(16 * kMiB);
  area.set_end(18 * kMiB);
  area.set_kind(Area::SHARED_CONTENT);
  area.set_offset(4 * kMiB);
  area.set_huge_page_bytes(2 * kMiB);
  return area;
}

TEST(Validate, RefusesViewsOfHugeFilesThatCannotBe) {
  image::Memory memory = sound_with_huge_pages();
  Area& view = view_of_huge_file(memory);
  EXPECT_FALSE(is_damaged(memory));
  image::Descriptors descriptors;
  descriptors.add_objects()->set_huge_page_bytes(2 * kMiB);
  EXPECT_NO_THROW(validate_huge_files(memory, descriptors));
  descriptors.mutable_objects(0)->set_huge_page_bytes(0);
  EXPECT_THROW(validate_huge_files(memory, descriptors), Error);
  view.set_offset(kPageSize);
  EXPECT_TRUE(is_damaged(memory));
  view.set_kind(Area::SHARED_FILE);
  EXPECT_TRUE(is_damaged(memory));
  view.set_offset(0);
  EXPECT_FALSE(is_damaged(memory));
}

TEST(Validate, AcceptsPartsOfSegmentsOfHugePages) {
  image::Memory memory = sound_with_huge_pages();
  memory.mutable_shared(0)->set_segment(1);
  Area& part = *memory.add_areas() = memory.areas(1);
  part.set_start(8 * kMiB);
  part.set_end(10 * kMiB);
  part.set_offset(2 * kMiB);
  EXPECT_FALSE(is_damaged(memory));
  part.set_offset(2 * kMiB - kPageSize);
  EXPECT_TRUE(is_damaged(memory));
}

TEST(HugePages, OfAFileCountOnce) {
  image::Descriptors descriptors;
  image::ContentObject& object = *descriptors.add_objects();
  object.set_origin(image::ContentObject::MEMFD);
  object.set_huge_page_bytes(2 * kMiB);
  image::ContentObject::Extent& extent = *object.add_data();
  extent.set_offset(3 * kMiB);
  extent.set_bytes(2 * kMiB);  // of two pages
  image::Memory memory;
  view_of_huge_file(memory);  // one of these, and reserved
  view_of_huge_file(memory).set_offset(20 * kMiB);
  view_of_huge_file(memory).set_kind(Area::PRIVATE_CONTENT);
  view_of_huge_file(memory).add_properties(Area::NO_RESERVE);
  HugeMemory demand;
  add_huge_files(std::vector<const image::Memory*>{&memory, &memory}, descriptors, demand);
  EXPECT_EQ(demand, (HugeMemory{{2 * kMiB, 6 * kMiB}}));
}

TEST(Validate, RefusesHugePagesThatCannotBe) {
  EXPECT_FALSE(is_damaged(sound_with_huge_pages()));
  const std::vector<std::function<void(image::Memory&)>> spoilers{
      [](image::Memory& memory) { memory.mutable_areas(0)->set_start(2 * kMiB + kPageSize); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_end(4 * kMiB - kPageSize); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_huge_page_bytes(kPageSize); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_huge_page_bytes(2 * kMiB + kPageSize); },
      [](image::Memory& memory) { memory.mutable_areas(0)->set_huge_page_bytes(std::uint64_t{1} << 63); },
      [](image::Memory& memory) { memory.mutable_areas(0)->add_properties(Area::GROWS_DOWN); },
      [](image::Memory& memory) { memory.mutable_areas(1)->add_properties(Area::NOT_MAPPED); },
      [](image::Memory& memory) { memory.mutable_areas(1)->set_huge_page_bytes(0); },
      [](image::Memory& memory) { memory.mutable_areas(1)->set_end(6 * kMiB); },
      [](image::Memory& memory) { memory.mutable_shared(0)->set_huge_page_bytes(0); },
      [](image::Memory& memory) { memory.mutable_shared(0)->set_size(8 * kMiB); },
      [](image::Memory& memory) {
        Area& second = *memory.add_areas() = memory.areas(1);
        second.set_start(8 * kMiB);
        second.set_end(12 * kMiB);
      },
      [](image::Memory& memory) { memory.mutable_areas()->RemoveLast(); },
      [](image::Memory& memory) {
        image::AddressRange& guard = *memory.add_guards();
        guard.set_start(2 * kMiB);
        guard.set_end(2 * kMiB + kPageSize);
      },
  };
  for (std::size_t i = 0; i < spoilers.size(); ++i) {
    image::Memory memory = sound_with_huge_pages();
    spoilers[i](memory);
    EXPECT_TRUE(is_damaged(memory)) << "spoiler " << i;
  }
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
