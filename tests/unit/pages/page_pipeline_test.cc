// From the memory of one child process through extents into the memory of another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/page_loader.h"
#include "engine/pages/page_saver.h"
#include "engine/pages/page_scan.h"
#include "pages/child.h"

namespace crs::engine {
namespace {

using test::Child;
using ::testing::HasSubstr;

// Far from anything that a process has by itself, and where the sanitizers let it have memory.
constexpr std::uint64_t kBase = 0x566000000000;
constexpr std::uint64_t kSize = 64 << 20;
constexpr RemoteRange kRange{{kBase}, {kBase + kSize}};

char* at(std::uint64_t page) { return reinterpret_cast<char*>(kBase + page * kPageSize); }

bool map_anonymous(std::uint64_t start = kBase, std::uint64_t size = kSize, int protection = PROT_READ | PROT_WRITE) {
  void* const wanted = reinterpret_cast<void*>(start);
  return ::mmap(wanted, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) ==
         wanted;
}

// Every third page up to 9000, each with its own number; page 20 (beside page 21) exists and is zero.
bool fill_pattern() {
  if (!map_anonymous()) return false;
  for (std::uint64_t page = 0; page < 9000; page += 3)
    std::memset(at(page), static_cast<int>(page % 251 + 1), kPageSize);
  at(20)[0] = 0;
  return true;
}

class PagePipelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-pages-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  SavedPages save(const RemoteMemory& memory, const std::vector<PageArea>& areas) {
    ExtentWriter writer(directory_, "pages", {.compression = Compression::Zstd});
    const SavedPages saved = save_page_areas(memory, areas, writer, 0, 3);
    writer.finish();
    return saved;
  }

  std::string directory_;
};

std::vector<PageRange> scan(const Pagemap& pagemap, RemoteRange range) {
  std::vector<PageRange> found;
  PageScan scan(pagemap, range);
  for (PageRange next; scan.next(next);) {
    const bool joins = !found.empty() && found.back().range.end == next.range.start && found.back().kind == next.kind;
    if (joins) {
      found.back().range.end = next.range.end;
    } else {
      found.push_back(next);
    }
  }
  return found;
}

TEST_F(PagePipelineTest, BothWaysOfScanningSeeTheSamePages) {
  const Child child([] { return fill_pattern() && std::memset(at(10000), 5, 100 * kPageSize) != nullptr; });
  for (const bool use_scan : {true, false}) {
    const std::vector<PageRange> found = scan(Pagemap(child.pid(), use_scan), kRange);
    ASSERT_EQ(found.size(), 3001U) << use_scan;
    EXPECT_EQ(found[1].range.start, kRange.start + 3 * kPageSize);
    EXPECT_EQ(found.back().range.size(), 100 * kPageSize);
  }
}

std::uint64_t resident_pages() {
  const std::string text = read_file("/proc/self/statm");
  return std::stoull(text.substr(text.find(' ')));
}

// Whether whoever reads memory that was never written is shown the zero page. Some kernels give a page of one's own.
bool reading_shows_zero_page() {
  constexpr std::size_t kPages = 512;
  void* const place = ::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(place, MAP_FAILED);
  ::madvise(place, kPages * kPageSize, MADV_NOHUGEPAGE);
  const std::uint64_t before = resident_pages();
  const volatile auto* const bytes = static_cast<const char*>(place);
  for (std::size_t page = 0; page < kPages; ++page) static_cast<void>(bytes[page * kPageSize]);
  const std::uint64_t after = resident_pages();
  ::munmap(place, kPages * kPageSize);
  return after < before + kPages / 2;
}

TEST_F(PagePipelineTest, PagesOfTheFileAndTheZeroPageAreNotOwn) {
  const std::string path = directory_ + "/file";
  write_all(open_file(path, O_CREAT | O_WRONLY).get(), path, as_byte_span(std::string(8 * kPageSize, 'f')));
  const Child child([&] {
    const int file = ::open(path.c_str(), O_RDONLY);
    void* const place = at(0);
    if (::mmap(place, 8 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0) != place)
      return false;
    if (!map_anonymous(kBase + 8 * kPageSize, 8 * kPageSize)) return false;
    volatile char sum = 0;
    for (std::uint64_t page = 0; page < 16; ++page) sum = static_cast<char>(sum + *at(page));
    *at(2) = 1;
    *at(9) = 1;
    return true;
  });
  const std::vector<PageRange> found = scan(Pagemap(child.pid()), kRange);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].range.start, kRange.start + 2 * kPageSize);
  EXPECT_EQ(found[1].range.start, kRange.start + (reading_shows_zero_page() ? 9 : 8) * kPageSize);
}

TEST_F(PagePipelineTest, CarriesPagesFromOneProcessToAnother) {
  const Child source(fill_pattern);
  const SavedPages saved = save(RemoteMemory(source.pid()), {{.range = kRange}});
  EXPECT_EQ(saved.pages, 3000U);
  EXPECT_EQ(saved.zero_pages, 1U);

  const Child target([] { return map_anonymous(); });
  const RemoteMemory memory(target.pid());
  const ExtentReader reader(directory_, "pages");
  EXPECT_GT(reader.extents().size(), 3000 * kPageSize / kPagePayload);
  const PageLoader loader(reader, {kRange});
  EXPECT_EQ(loader.pages(), 3000U);
  loader.load(memory, 3);
  std::vector<std::byte> expected(kSize);
  std::vector<std::byte> restored(kSize);
  RemoteMemory(source.pid()).read(kRange.start, expected);
  memory.read(kRange.start, restored);
  EXPECT_TRUE(expected == restored);
}

TEST_F(PagePipelineTest, ReadsWhatTheProgramMayNot) {
  const Child source([] {
    if (!map_anonymous(kBase, 4 * kPageSize)) return false;
    std::memset(at(0), 7, 4 * kPageSize);
    return ::mprotect(at(0), 2 * kPageSize, PROT_NONE) == 0 && ::mprotect(at(2), 2 * kPageSize, PROT_WRITE) == 0;
  });
  const RemoteRange range{{kBase}, {kBase + 4 * kPageSize}};
  EXPECT_EQ(save(RemoteMemory(source.pid()), {{.range = range, .readable = false}}).pages, 4U);
  const ExtentReader reader(directory_, "pages");
  std::vector<std::byte> payload(4 * kPageSize);
  reader.read(0, payload);
  EXPECT_TRUE(std::ranges::all_of(payload, [](std::byte byte) { return byte == std::byte{7}; }));
}

TEST_F(PagePipelineTest, KeepsZeroPagesWhereFreshMemoryIsNotZero) {
  const Child source([] { return map_anonymous() && ((*at(3) = 0), (*at(5) = 1)) == 1; });
  EXPECT_EQ(save(RemoteMemory(source.pid()), {{.range = kRange, .starts_zero = false}}).pages, 2U);
}

TEST_F(PagePipelineTest, TakesAllThatCanBeReadOfAMappedFile) {
  const std::string path = directory_ + "/file";
  write_all(open_file(path, O_CREAT | O_WRONLY).get(), path, as_byte_span(std::string(3 * kPageSize, 'f')));
  const Child source([&] {
    const int file = ::open(path.c_str(), O_RDONLY);
    return ::mmap(at(0), 8 * kPageSize, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0) == at(0);
  });
  const RemoteRange range{{kBase}, {kBase + 8 * kPageSize}};
  EXPECT_EQ(save(RemoteMemory(source.pid()), {{.range = range, .choice = PageChoice::All}}).pages, 3U);
}

TEST_F(PagePipelineTest, CostsNothingForReservedMemory) {
  constexpr std::uint64_t kTebibyte = std::uint64_t{1} << 40;
  const Child source([] { return map_anonymous(kBase, kTebibyte) && (*at(100000) = 1) == 1; });
  const RemoteRange range{{kBase}, {kBase + kTebibyte}};
  EXPECT_EQ(save(RemoteMemory(source.pid()), {{.range = range}}).pages, 1U);
}

TEST_F(PagePipelineTest, RefusesPagesOutsideTheProgramsAreas) {
  const Child source(fill_pattern);
  save(RemoteMemory(source.pid()), {{.range = kRange}});
  const ExtentReader reader(directory_, "pages");
  const auto refusal = [&](const std::vector<RemoteRange>& allowed) -> std::string {
    try {
      const PageLoader loader(reader, allowed);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Damaged);
      return error.what();
    }
    return "";
  };
  const RemoteAddress middle{kBase + 600 * kPageSize};
  EXPECT_EQ(refusal({{kRange.start, middle}, {middle, kRange.end}}), "");
  EXPECT_THAT(refusal({}), HasSubstr("outside the program's memory"));
  EXPECT_THAT(refusal({{kRange.start, middle}, {middle + kPageSize, kRange.end}}),
              HasSubstr("outside the program's memory"));
  EXPECT_THAT(refusal({{kRange.start, kRange.start + 8997 * kPageSize}}), HasSubstr("outside the program's memory"));
}

TEST_F(PagePipelineTest, RefusesATagThatDoesNotFitItsPayload) {
  ExtentWriter writer(directory_, "pages");
  const std::vector<std::byte> payload(2 * kPageSize);
  writer.append(payload, encode_runs(PageRuns{{{kBase}, {kBase + kPageSize}}}));
  writer.finish();
  const ExtentReader reader(directory_, "pages");
  EXPECT_THROW(PageLoader(reader, {kRange}), Error);
}

TEST_F(PagePipelineTest, StopsAtTheFirstFailureOfAnyThread) {
  const Child source(fill_pattern);
  ExtentWriter writer(directory_, "pages");
  const RemoteRange unmapped{kRange.end, kRange.end + kPageSize};
  EXPECT_NO_THROW(
      save_page_areas(RemoteMemory(source.pid()), std::vector<PageArea>{{.range = unmapped}}, writer, 0, 3));
  const Child target([] { return map_anonymous(kBase, kPageSize); });
  ExtentWriter whole(directory_, "whole");
  save_page_areas(RemoteMemory(source.pid()), std::vector<PageArea>{{.range = kRange}}, whole, 0, 3);
  whole.finish();
  const ExtentReader reader(directory_, "whole");
  EXPECT_THROW(PageLoader(reader, {kRange}).load(RemoteMemory(target.pid()), 3), Error);
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

TEST_F(PagePipelineTest, SeesGuardPages) {
  const Child source([&] {
    if (!fill_pattern()) return false;
    return ::madvise(at(5), 3 * kPageSize, MADV_GUARD_INSTALL) == 0 || errno == EINVAL;
  });
  if (::madvise(nullptr, 0, MADV_GUARD_INSTALL) != 0) GTEST_SKIP() << "this kernel has no guard pages";
  const SavedPages saved = save(RemoteMemory(source.pid()), {{.range = kRange}});
  ASSERT_EQ(saved.guards.size(), 1U);
  EXPECT_EQ(saved.guards[0].start, kRange.start + 5 * kPageSize);
  EXPECT_EQ(saved.guards[0].size(), 3 * kPageSize);
  EXPECT_EQ(saved.pages, 2999U);
}

}  // namespace
}  // namespace crs::engine
