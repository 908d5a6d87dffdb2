// Several processes at one store.
#include <gmock/gmock.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "child_process.h"
#include "store_fixture.h"

namespace crs {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;

std::size_t entries_in(const std::string& path) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

TEST(ConcurrentWriters, NeverGetTheSameNumber) {
  constexpr int kWriters = 4;
  constexpr int kSnapshots = 5;
  const TemporaryDirectory directory;
  const std::string location = directory.path() + "/store";
  std::vector<ChildProcess> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      Store store(location);
      for (int n = 0; n < kSnapshots; ++n) make_snapshot(store, "sim", "of writer " + std::to_string(i));
      return 0;
    });
  }
  for (ChildProcess& writer : writers) EXPECT_EQ(writer.wait(), 0);
  const Store store(location);
  const std::vector<SnapshotInfo> snapshots = store.list();
  ASSERT_EQ(snapshots.size(), static_cast<std::size_t>(kWriters * kSnapshots));
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    EXPECT_EQ(snapshots[i].reference.sequence, i + 1);
    EXPECT_NO_THROW(verify_snapshot(snapshots[i].location));
  }
}

TEST(ConcurrentWriters, ListingAndRemovalMeanwhileSeeCompleteSnapshotsOnly) {
  const TemporaryDirectory directory;
  Store store(directory.path());
  ChildProcess writer([&] {
    Store own(directory.path());
    for (int i = 0; i < 20; ++i) make_snapshot(own, "sim");
    return 0;
  });
  std::uint64_t highest = 0;
  for (bool last = false; !last;) {
    last = writer.has_ended();
    for (const SnapshotInfo& info : store.list()) {
      EXPECT_FALSE(info.damage.has_value()) << info.damage->what();
      EXPECT_GT(*info.reference.sequence, highest) << "removed snapshots do not come back";
      highest = *info.reference.sequence;
      EXPECT_NO_THROW(verify_snapshot(info.location));
      store.remove(info.reference);
    }
  }
  EXPECT_EQ(writer.wait(), 0);
  EXPECT_EQ(highest, 20U);
}

TEST(ConcurrentWriters, ListingWhileAnotherRemovesSeesNoDamage) {
  const TemporaryDirectory directory;
  Store store(directory.path());
  constexpr int kRounds = 30;
  ChildProcess remover([&] {
    Store own(directory.path());
    for (int i = 0; i < kRounds; ++i) own.remove(make_snapshot(own, "sim"));
    return 0;
  });
  while (!remover.has_ended()) {
    for (const SnapshotInfo& info : store.list("sim")) EXPECT_FALSE(info.damage.has_value()) << info.damage->what();
  }
  EXPECT_EQ(remover.wait(), 0);
}

TEST(KilledWriter, LeavesOnlyALeftoverThatIsCleaned) {
  const TemporaryDirectory directory;
  Store store(directory.path());
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  ChildProcess writer([&] {
    const std::unique_ptr<SnapshotWriter> half = Store(directory.path()).begin(request_of("sim"));
    write_text(half->location() + "/files/1", "half");
    static_cast<void>(!::write(ready[1], "r", 1));
    ::pause();
    return 0;
  });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(store.list(), IsEmpty());
  EXPECT_EQ(entries_in(directory.path() + "/sim"), 2U) << "the lock and the partial snapshot";
  writer.kill();
  EXPECT_EQ(writer.wait(), -SIGKILL);
  EXPECT_THAT(store.list(), IsEmpty());
  EXPECT_FALSE(fs::exists(directory.path() + "/sim"));
  EXPECT_EQ(make_snapshot(store, "sim").to_string(), "sim@1");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(KilledWriter, AtAnyMomentLeavesCompleteSnapshotsOnly) {
  const TemporaryDirectory directory;
  Store store(directory.path());
  make_snapshot(store, "sim");
  constexpr int kRounds = 25;
  std::mt19937 random(20240607);
  for (int round = 0; round < kRounds; ++round) {
    ChildProcess writer([&]() -> int {
      Store own(directory.path());
      while (true) make_snapshot(own, "sim");
    });
    // The moment is to be any; nothing is waited for.
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    writer.kill();
    writer.wait();
    std::uint64_t last = 0;
    for (const SnapshotInfo& info : store.list()) {
      EXPECT_NO_THROW(verify_snapshot(info.location));
      last = *info.reference.sequence;
    }
    EXPECT_GT(*make_snapshot(store, "sim").sequence, last);
    store.remove_job("sim");
    make_snapshot(store, "sim");
  }
}

TEST(ForkedWriter, CopyOfTheObjectDoesNotRemoveTheSnapshot) {
  const TemporaryDirectory directory;
  Store store(directory.path());
  std::unique_ptr<SnapshotWriter> writer = store.begin(request_of("sim"));
  ChildProcess child([&] {
    writer.reset();
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_NO_THROW(writer->commit(some_contents()));
}

}  // namespace
}  // namespace crs
