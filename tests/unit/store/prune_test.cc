#include "store/prune.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace crs {
namespace {

SnapshotInfo snapshot(std::uint64_t sequence, std::int64_t taken_at) {
  SnapshotInfo info{{"job", sequence}, {}, {}, {}};
  info.manifest.set_taken_at(taken_at);
  return info;
}

SnapshotInfo damaged(std::uint64_t sequence) {
  return {{"job", sequence}, {}, {}, Error(ErrorKind::Damaged, "its checksum is wrong")};
}

std::vector<std::uint64_t> chosen(const std::vector<SnapshotInfo>& snapshots, const PrunePolicy& policy) {
  std::vector<std::uint64_t> sequences;
  for (const SnapshotInfo& info : choose_to_prune(snapshots, policy)) sequences.push_back(*info.reference.sequence);
  return sequences;
}

using Sequences = std::vector<std::uint64_t>;

TEST(Prune, KeepsTheNewest) {
  const std::vector<SnapshotInfo> four{snapshot(1, 10), snapshot(2, 20), snapshot(5, 50), snapshot(6, 60)};
  EXPECT_EQ(chosen(four, {.keep = 2, .taken_before = {}}), (Sequences{2, 1}));
  EXPECT_EQ(chosen(four, {.keep = 1, .taken_before = {}}), (Sequences{5, 2, 1}));
  EXPECT_EQ(chosen(four, {.keep = 4, .taken_before = {}}), Sequences{});
  EXPECT_EQ(chosen({}, {.keep = 1, .taken_before = {}}), Sequences{});
}

TEST(Prune, KeepsWhatIsYoungAndSomeOfWhatIsOld) {
  const std::vector<SnapshotInfo> four{snapshot(1, 10), snapshot(2, 20), snapshot(5, 50), snapshot(6, 60)};
  EXPECT_EQ(chosen(four, {.keep = 1, .taken_before = 50}), (Sequences{2, 1}));
  EXPECT_EQ(chosen(four, {.keep = 1, .taken_before = 1000}), (Sequences{5, 2, 1}));
  EXPECT_EQ(chosen(four, {.keep = 3, .taken_before = 1000}), (Sequences{1}));
}

TEST(Prune, DoesNotCountWhatIsDamaged) {
  EXPECT_EQ(chosen({snapshot(1, 10), snapshot(2, 20), damaged(3), damaged(4)}, {.keep = 1, .taken_before = {}}),
            (Sequences{1}));
}

}  // namespace
}  // namespace crs
