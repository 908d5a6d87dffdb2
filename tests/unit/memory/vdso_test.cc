#include "engine/resources/memory/vdso.h"

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <random>

#include "engine/resources/memory/smaps.h"

namespace crs::engine {
namespace {

std::span<const std::byte> own_vdso() {
  for (const MapsLine& line : read_maps(::getpid())) {
    if (line.name == "[vdso]") return {reinterpret_cast<const std::byte*>(line.range.start.value), line.range.size()};
  }
  return {};
}

TEST(Vdso, ExportsWhatCLibrariesLookFor) {
  const std::vector<VdsoEntry> entries = vdso_entries(own_vdso());
  for (const char* name : {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu"}) {
    const auto entry = std::ranges::find(entries, name, &VdsoEntry::name);
    ASSERT_NE(entry, entries.end()) << name;
    EXPECT_GE(entry->bytes, 14U) << name;
  }
}

// The first free place at or not far below `address`.
void* map_below(std::uint64_t address, std::size_t bytes) {
  for (std::uint64_t tries = 0; tries < 512; ++tries, address -= std::uint64_t{1} << 21) {
    void* const place = ::mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (place != MAP_FAILED) return place;
  }
  return nullptr;
}

TEST(Vdso, OldCodeLeadsToTheNew) {
  const std::span<const std::byte> code = own_vdso();
  const RemoteAddress new_place{reinterpret_cast<std::uint64_t>(code.data())};
  const std::vector<VdsoEntry> entries = vdso_entries(code);
  const auto entry = std::ranges::find(entries, "__vdso_clock_gettime", &VdsoEntry::name);
  ASSERT_NE(entry, entries.end());
  // Within reach of a short jump, and far away.
  for (const std::uint64_t distance : {std::uint64_t{1} << 28, std::uint64_t{1} << 44}) {
    void* const place = map_below(new_place.value - distance, code.size());
    ASSERT_NE(place, nullptr);
    const RemoteAddress wanted{reinterpret_cast<std::uint64_t>(place)};
    const std::vector<std::byte> patched = lead_to_new_vdso(code, wanted, code, new_place);
    ASSERT_EQ(patched.size(), code.size());
    std::memcpy(place, patched.data(), patched.size());
    ASSERT_EQ(::mprotect(place, code.size(), PROT_READ | PROT_EXEC), 0);
    const auto get = reinterpret_cast<int (*)(clockid_t, timespec*)>(wanted.value + entry->offset);
    timespec through_old{};
    timespec now{};
    EXPECT_EQ(get(CLOCK_MONOTONIC, &through_old), 0);
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT_GE(now.tv_sec, through_old.tv_sec);
    EXPECT_LE(now.tv_sec - through_old.tv_sec, 1);
    ::munmap(place, code.size());
  }
}

TEST(Vdso, LeavesAloneWhatTheNewOneDoesNotHave) {
  const std::span<const std::byte> code = own_vdso();
  const std::vector<std::byte> patched = lead_to_new_vdso(code, {0x1000000}, {}, {0x2000000});
  EXPECT_TRUE(std::ranges::equal(patched, code));
}

TEST(Vdso, SurvivesAnyBytes) {
  const std::span<const std::byte> code = own_vdso();
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> bad(code.begin(), code.end());
    bad.resize(random() % (bad.size() + 1));
    const std::size_t header = std::min<std::size_t>(bad.size(), 64);
    for (int i = 0; i < 8 && !bad.empty(); ++i) {
      bad[random() % (round % 2 == 0 && header > 0 ? header : bad.size())] = static_cast<std::byte>(random());
    }
    const std::vector<std::byte> patched = lead_to_new_vdso(bad, {0x1000000}, bad, {0x2000000});
    EXPECT_EQ(patched.size(), bad.size());
  }
}

}  // namespace
}  // namespace crs::engine
