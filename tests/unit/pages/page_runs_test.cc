#include "engine/pages/page_runs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/pages/page_runs.pb.h"

namespace crs::engine {
namespace {

RemoteRange pages(std::uint64_t first, std::uint64_t count) {
  return {{first * kPageSize}, {(first + count) * kPageSize}};
}

bool same(const PageRuns& one, const PageRuns& other) {
  return std::ranges::equal(one, other,
                            [](RemoteRange a, RemoteRange b) { return a.start == b.start && a.end == b.end; });
}

std::string tag_of(const std::vector<std::uint64_t>& numbers) {
  image::PageRuns message;
  for (const std::uint64_t number : numbers) message.add_runs(number);
  return message.SerializeAsString();
}

TEST(PageRuns, ComeBackFromTheirTag) {
  const PageRuns runs{pages(0, 1), pages(5, 2), pages(7, 1), pages(std::uint64_t{1} << 35, 1000)};
  EXPECT_TRUE(same(decode_runs(encode_runs(runs)), runs));
  EXPECT_EQ(total_bytes(runs), 1004 * kPageSize);
  EXPECT_TRUE(decode_runs("").empty());
}

TEST(PageRuns, AreJoinedWhereTheyTouch) {
  PageRuns runs;
  append_run(runs, pages(1, 2));
  append_run(runs, pages(3, 1));
  append_run(runs, pages(5, 1));
  EXPECT_TRUE(same(runs, {pages(1, 3), pages(5, 1)}));
}

TEST(PageRuns, PagesThatWereReplacedDoNotCount) {
  const PageRuns runs{pages(10, 4), pages(20, 2)};
  const std::string tag = only_pages(encode_runs(runs), PageRuns{pages(5, 6), pages(12, 9)}, 0);  // neither 11 nor 21
  const ExtentPages found = decode_pages(tag, 6 * kPageSize);
  EXPECT_TRUE(same(found.runs, {pages(10, 1), pages(12, 2), pages(20, 1)}));
  EXPECT_EQ(found.offsets, (std::vector<std::uint64_t>{0, 2 * kPageSize, 4 * kPageSize}));
  std::vector<std::byte> payload(6 * kPageSize);
  for (std::size_t page = 0; page < 6; ++page) payload[page * kPageSize] = std::byte(page);
  const std::span<std::byte> gathered = found.gather(payload);
  ASSERT_EQ(gathered.size(), 4 * kPageSize);
  for (const std::size_t page : {0, 1, 2, 3})
    EXPECT_EQ(gathered[page * kPageSize], std::byte(std::array{0, 2, 3, 4}[page]));
  EXPECT_TRUE(decode_pages(only_pages(tag, {}, 0), 6 * kPageSize).runs.empty());
}

TEST(PageRuns, RefusesForgedReplacements) {
  const auto tag_with = [](const std::vector<std::uint64_t>& numbers) {
    image::PageRuns message;
    for (const std::uint64_t number : {10, 4}) message.add_runs(number);
    for (const std::uint64_t number : numbers) message.add_replaced(number);
    return message.SerializeAsString();
  };
  EXPECT_NO_THROW(decode_pages(tag_with({0, 4}), 4 * kPageSize));
  EXPECT_THROW(decode_pages(tag_with({}), 3 * kPageSize), Error);
  for (const auto& numbers : std::vector<std::vector<std::uint64_t>>{
           {1}, {0, 0}, {0, 5}, {4, 1}, {1, 2, 1, 1}, {~std::uint64_t{0}, 1}, {1, ~std::uint64_t{0}}}) {
    EXPECT_THROW(decode_pages(tag_with(numbers), 4 * kPageSize), Error) << numbers.front() << " " << numbers.size();
  }
}

TEST(PageRuns, RefusesForgedTags) {
  const std::uint64_t huge = ~std::uint64_t{0};
  const std::uint64_t limit = (std::uint64_t{1} << 63) / kPageSize;
  EXPECT_NO_THROW(decode_runs(tag_of({limit - 1, 1})));
  for (const auto& numbers : std::vector<std::vector<std::uint64_t>>{
           {1}, {1, 0}, {huge, 1}, {1, huge}, {limit, 1}, {limit - 1, 2}, {5, 5, huge - 8, 1}, {5, 5, 1, limit}}) {
    EXPECT_THROW(decode_runs(tag_of(numbers)), Error) << numbers.front() << " " << numbers.size();
  }
  EXPECT_THROW(decode_runs("\x0a\xff\xff"), Error);
}

}  // namespace
}  // namespace crs::engine
