// The disk fails, fills up, or loses what was not synced: at every step of a checkpoint there is a complete snapshot or
// none.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <set>
#include <span>

#include "base/error.h"
#include "child_process.h"
#include "store_fixture.h"

namespace crs {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> names_in_store(const Store& store) {
  std::vector<std::string> names;
  for (const SnapshotInfo& info : store.list()) names.push_back(info.reference.to_string());
  return names;
}

void expect_all_sound(const Store& store) {
  for (const SnapshotInfo& info : store.list()) EXPECT_NO_THROW(verify_snapshot(info.location));
}

bool has_leftovers(const Store& store) {
  for (const fs::directory_entry& entry : fs::directory_iterator(store.location() + "/sim")) {
    if (entry.path().filename().native().starts_with('.') || entry.path().extension() == ".new") return true;
  }
  return false;
}

// Calls a hook before each operation, counted from 0.
class HookedDisk : public Disk {
 public:
  explicit HookedDisk(std::function<void(int)> hook) : hook_(std::move(hook)) {}

  void sync(int descriptor, const std::string& path) override {
    hook_(operations_++);
    Disk::sync(descriptor, path);
  }
  void sync_all(std::span<const Unsynced> files) override {
    for (const Unsynced& file : files) sync(file.descriptor, file.path);
  }
  void write(int descriptor, const std::string& path, std::string_view bytes) override {
    hook_(operations_++);
    Disk::write(descriptor, path, bytes);
  }
  void rename_new(int directory, const std::string& from, const std::string& to, const std::string& path) override {
    hook_(operations_++);
    Disk::rename_new(directory, from, to, path);
  }
  void rename_over(int directory, const std::string& from, const std::string& to, const std::string& path) override {
    hook_(operations_++);
    Disk::rename_over(directory, from, to, path);
  }

 private:
  std::function<void(int)> hook_;
  int operations_ = 0;
};

constexpr int kMoreSteps = 100;  // than a checkpoint has

TEST(StoreOnAFailingDisk, EachFailureLeavesNoSnapshotAndNoTrace) {
  const TemporaryDirectory directory;
  Store sound(directory.path());
  make_snapshot(sound, "sim");
  int step = 0;
  for (bool failed = true; failed; ++step) {
    ASSERT_LT(step, kMoreSteps);
    failed = false;
    Store store(directory.path(), std::make_shared<HookedDisk>([&](int operation) {
                  if (operation == step) throw disk_error("cannot sync a file", ENOSPC);
                }));
    try {
      make_snapshot(store, "sim");
    } catch (const Error& error) {
      failed = true;
      EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
      EXPECT_THAT(error.what(), HasSubstr("CRS_STORE"));
      EXPECT_THAT(names_in_store(sound), ElementsAre("sim@1")) << "step " << step;
      EXPECT_FALSE(has_leftovers(sound)) << "step " << step;
    }
  }
  EXPECT_GT(step, 8) << "a checkpoint has more steps than that";
  EXPECT_EQ(names_in_store(sound).size(), 2U);
  expect_all_sound(sound);
}

// Only what fails when the snapshot can be seen already leaves something: that its number is spent.
TEST(StoreOnAFailingDisk, AFirstCheckpointThatFailsLeavesNoJob) {
  int left = 0;
  int step = 0;
  for (bool failed = true; failed; ++step) {
    ASSERT_LT(step, kMoreSteps);
    failed = false;
    const TemporaryDirectory directory;
    Store store(directory.path(), std::make_shared<HookedDisk>([&](int operation) {
                  if (operation == step) throw disk_error("cannot sync a file", EIO);
                }));
    try {
      make_snapshot(store, "sim");
    } catch (const Error&) {
      failed = true;
      const bool is_left = fs::exists(directory.path() + "/sim");
      left += is_left ? 1 : 0;
      Store sound(directory.path());
      EXPECT_TRUE(names_in_store(sound).empty()) << "step " << step;
      EXPECT_EQ(make_snapshot(sound, "sim").to_string(), is_left ? "sim@2" : "sim@1") << "step " << step;
    }
  }
  EXPECT_GT(step, 8);
  EXPECT_EQ(left, 1);
}

// A disk that keeps, at the crash, only what was synced: the content of files, the entries of directories, and renames.
class ForgetfulDisk : public HookedDisk {
 public:
  ForgetfulDisk(const std::string& store, bool entries_too, int crash_at)
      : HookedDisk([this, crash_at](int operation) {
          if (operation == crash_at) crash(1);
        }),
        store_(store),
        entries_too_(entries_too) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(store_))
      kept_.insert(inode_of(entry.path()));
  }

  void sync(int descriptor, const std::string& path) override {
    HookedDisk::sync(descriptor, path);
    struct stat status{};
    ::fstat(descriptor, &status);
    kept_.insert(status.st_ino);
    if (S_ISDIR(status.st_mode)) unsynced_renames_.clear();
  }
  void rename_new(int directory, const std::string& from, const std::string& to, const std::string& path) override {
    HookedDisk::rename_new(directory, from, to, path);
    unsynced_renames_.emplace_back(path + "/" + from, path + "/" + to);
  }

  [[noreturn]] void crash(int exit_status) {
    if (entries_too_) {
      for (const auto& [from, to] : unsynced_renames_) ::rename(to.c_str(), from.c_str());
    }
    std::vector<fs::path> lost;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(store_)) {
      if (kept_.contains(inode_of(entry.path()))) continue;
      if (entry.is_regular_file())
        fs::permissions(entry.path(), fs::perms::owner_all), fs::resize_file(entry.path(), 0);
      if (!entry.is_directory() || !entries_too_) continue;
      for (const fs::directory_entry& inner : fs::directory_iterator(entry.path())) lost.push_back(inner.path());
    }
    for (const fs::path& path : lost) fs::remove_all(path);
    ::_exit(exit_status);
  }

 private:
  static ino_t inode_of(const fs::path& path) {
    struct stat status{};
    ::lstat(path.c_str(), &status);
    return status.st_ino;
  }

  std::string store_;
  bool entries_too_;
  std::set<ino_t> kept_;
  std::vector<std::pair<std::string, std::string>> unsynced_renames_;
};

class StoreOnAForgetfulDisk : public ::testing::TestWithParam<bool> {};

TEST_P(StoreOnAForgetfulDisk, CrashAtEveryStepLeavesACompleteSnapshotOrNone) {
  const TemporaryDirectory directory;
  Store sound(directory.path());
  std::set<std::string> given = {make_snapshot(sound, "sim").to_string()};
  bool crashed = true;
  int step = 0;
  for (; crashed; ++step) {
    ASSERT_LT(step, kMoreSteps);
    ChildProcess child([&]() -> int {
      const auto disk = std::make_shared<ForgetfulDisk>(directory.path(), GetParam(), step);
      Store store(directory.path(), disk);
      make_snapshot(store, "sim", "in round " + std::to_string(step));
      // What was reported as done survives a crash that comes at once.
      disk->crash(0);
    });
    const std::size_t before = given.size();
    crashed = child.wait() == 1;
    const std::vector<std::string> names = names_in_store(sound);
    EXPECT_GE(names.size(), before + (crashed ? 0 : 1)) << "step " << step;
    expect_all_sound(sound);
    EXPECT_FALSE(has_leftovers(sound)) << "step " << step;
    given.insert(names.begin(), names.end());
    EXPECT_TRUE(given.insert(make_snapshot(sound, "sim").to_string()).second) << "step " << step;
  }
  EXPECT_GT(step, 8);
}

INSTANTIATE_TEST_SUITE_P(LosingContent, StoreOnAForgetfulDisk, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(LosingEntriesToo, StoreOnAForgetfulDisk, ::testing::Values(true));

TEST(StoreRemoval, InterruptedAtEveryStepLeavesNoHalfSnapshot) {
  int step = 0;
  for (bool crashed = true; crashed; ++step) {
    ASSERT_LT(step, kMoreSteps);
    const TemporaryDirectory directory;
    Store sound(directory.path());
    make_snapshot(sound, "sim");
    ChildProcess child([&] {
      Store store(directory.path(), std::make_shared<HookedDisk>([&](int operation) {
                    if (operation == step) ::_exit(1);
                  }));
      store.remove({"sim", 1});
      return 0;
    });
    crashed = child.wait() == 1;
    expect_all_sound(sound);
    EXPECT_EQ(names_in_store(sound).size(), crashed && step == 0 ? 1U : 0U);
    EXPECT_FALSE(has_leftovers(sound));
  }
  EXPECT_GT(step, 2);
}

// Runs `body` in a child that has a small tmpfs of its own mounted at `path`.
int with_small_disk(const std::string& path, const std::function<int()>& body) {
  ChildProcess child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("small", path.c_str(), "tmpfs", 0, "size=256k,mode=0700") != 0) {
      fail_errno(errno, "cannot mount a small disk");
    }
    return body();
  });
  return child.wait();
}

TEST(StoreOnAFullDisk, SaysSoAndKeepsTheEarlierSnapshot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can mount the small disk";
  const TemporaryDirectory directory;
  const int status = with_small_disk(directory.path(), [&] {
    Store store(directory.path());
    make_snapshot(store, "sim");
    const std::unique_ptr<SnapshotWriter> writer = store.begin(request_of("sim"));
    std::ofstream(writer->location() + "/filler") << std::string(1 << 20, 'f');
    SnapshotContents contents = some_contents();
    contents.warnings.assign(100, std::string(4096, 'w'));
    const std::string text = text_of_error(ErrorKind::Failed, [&] { writer->commit(contents); });
    EXPECT_THAT(text, HasSubstr("No space left on device"));
    EXPECT_THAT(text, HasSubstr("Remove snapshots"));
    EXPECT_THAT(names_in_store(store), ElementsAre("sim@1"));
    EXPECT_FALSE(has_leftovers(store));
    EXPECT_EQ(make_snapshot(store, "sim").to_string(), "sim@2") << "the space is free again";
    expect_all_sound(store);
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
}

TEST(StoreUnderAFileSizeLimit, SaysSoAndLeavesNothing) {
  const TemporaryDirectory directory;
  ChildProcess child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Store store(directory.path());
    const std::unique_ptr<SnapshotWriter> writer = store.begin(request_of("sim"));
    SnapshotContents contents = some_contents();
    contents.warnings.assign(2, std::string(4096, 'w'));
    const std::string text = text_of_error(ErrorKind::Failed, [&] { writer->commit(contents); });
    EXPECT_THAT(text, HasSubstr("/manifest: File too large"));
    EXPECT_TRUE(names_in_store(store).empty());
    EXPECT_FALSE(std::filesystem::exists(directory.path() + "/sim"))
        << "a job that never had a snapshot leaves no trace";
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace crs
