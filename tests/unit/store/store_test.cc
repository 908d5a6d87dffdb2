#include "store/store.h"

#include <gmock/gmock.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "store/directory_tree.h"
#include "store_fixture.h"

namespace crs {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StoreTest : public ::testing::Test {
 protected:
  std::vector<std::string> listed(const std::optional<std::string>& job = std::nullopt) const {
    std::vector<std::string> names;
    for (const SnapshotInfo& info : store_.list(job)) names.push_back(info.reference.to_string());
    return names;
  }
  std::string refusal(ErrorKind kind, const std::function<void()>& action) const { return text_of_error(kind, action); }
  static mode_t mode_of(const std::string& path) {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  }

  TemporaryDirectory directory_;
  Store store_{directory_.path() + "/state/crs"};
};

TEST_F(StoreTest, ThatDoesNotExistHasNoSnapshots) {
  EXPECT_THAT(listed(), IsEmpty());
  EXPECT_FALSE(fs::exists(store_.location()));
  EXPECT_THAT(refusal(ErrorKind::NotFound, [&] { store_.open({"sim", {}}); }), HasSubstr("no job sim"));
}

TEST_F(StoreTest, KeepsWhatWasCommitted) {
  const Reference reference = make_snapshot(store_, "sim");
  EXPECT_EQ(reference.to_string(), "sim@1");
  const SnapshotInfo info = store_.open({"sim", {}});
  EXPECT_EQ(info.location, store_.location() + "/sim/1");
  const store::Manifest& manifest = info.manifest;
  EXPECT_EQ(manifest.component().name(), "test");
  EXPECT_EQ(manifest.component().version(), "1.2.3");
  EXPECT_EQ(manifest.component().interface_major(), 2U);
  EXPECT_EQ(manifest.program().pid(), 4711);
  EXPECT_EQ(manifest.program().executable(), "/usr/bin/sim\xff");
  EXPECT_THAT(manifest.program().command_line(), ElementsAre("sim", "--steps", "10"));
  EXPECT_EQ(manifest.pause_nanoseconds(), 3000U);
  EXPECT_GT(manifest.total_nanoseconds(), 0U);
  EXPECT_EQ(manifest.stored_bytes(), std::string("the process").size() + std::string("an unlinked file").size());
  EXPECT_EQ(manifest.user_id(), ::geteuid());
  EXPECT_GT(manifest.taken_at(), 1'700'000'000'000'000'000);
  EXPECT_EQ(manifest.passes(0).name(), "freeze");
  EXPECT_EQ(read_verified_file(info.location, "files/1"), "an unlinked file");
  EXPECT_NO_THROW(verify_snapshot(info.location));
  EXPECT_NO_THROW(verify_files_before_restart(info.location));
}

TEST_F(StoreTest, EverythingIsPrivate) {
  make_snapshot(store_, "sim");
  EXPECT_EQ(mode_of(store_.location()), 0700U);
  EXPECT_EQ(mode_of(store_.location() + "/sim"), 0700U);
  EXPECT_EQ(mode_of(store_.location() + "/sim/1"), 0700U);
  EXPECT_EQ(mode_of(store_.location() + "/sim/1/manifest"), 0400U);
  EXPECT_EQ(mode_of(store_.location() + "/sim/1/process"), 0400U);
}

TEST_F(StoreTest, SequenceNumbersAreNeverGivenTwice) {
  make_snapshot(store_, "sim");
  EXPECT_EQ(make_snapshot(store_, "sim").to_string(), "sim@2");
  store_.remove({"sim", 2});
  EXPECT_EQ(make_snapshot(store_, "sim").to_string(), "sim@3");
  store_.remove_job("sim");
  EXPECT_THAT(listed(), IsEmpty());
  EXPECT_EQ(make_snapshot(store_, "sim").to_string(), "sim@4");
}

TEST_F(StoreTest, SequenceGoesOnAfterTheHighestSnapshotWithoutItsCounter) {
  make_snapshot(store_, "sim");
  make_snapshot(store_, "sim");
  fs::remove(store_.location() + "/sim/sequence");
  EXPECT_EQ(make_snapshot(store_, "sim").to_string(), "sim@3");
}

TEST_F(StoreTest, DamagedCounterIsReported) {
  make_snapshot(store_, "sim");
  for (const char* text : {"", "x\n", "1", "-1\n", "99999999999999999999999\n", "01\n"}) {
    write_text(store_.location() + "/sim/sequence", text);
    EXPECT_THAT(refusal(ErrorKind::Damaged, [&] { store_.begin(request_of("sim")); }), HasSubstr("Remove this file"))
        << text;
  }
}

TEST_F(StoreTest, ListsByJobAndSequence) {
  for (int i = 0; i < 10; ++i) make_snapshot(store_, "b");
  make_snapshot(store_, "a");
  EXPECT_THAT(listed(), ElementsAre("a@1", "b@1", "b@2", "b@3", "b@4", "b@5", "b@6", "b@7", "b@8", "b@9", "b@10"));
  EXPECT_THAT(listed("a"), ElementsAre("a@1"));
  EXPECT_THAT(listed("c"), IsEmpty());
  EXPECT_EQ(store_.open({"b", {}}).reference.to_string(), "b@10");
  EXPECT_THAT(refusal(ErrorKind::NotFound, [&] { store_.open({"b", 11}); }), HasSubstr("no snapshot b@11"));
}

TEST_F(StoreTest, OpensByLocationAlone) {
  make_snapshot(store_, "sim");
  const std::string elsewhere = directory_.path() + "/moved";
  fs::rename(store_.location() + "/sim/1", elsewhere);
  const SnapshotInfo info = Store::open_location(elsewhere + "/");
  EXPECT_EQ(info.reference.to_string(), "sim@1");
  EXPECT_EQ(info.location, elsewhere);
  EXPECT_NO_THROW(verify_snapshot(info.location));
  EXPECT_THAT(refusal(ErrorKind::NotFound, [&] { Store::open_location(directory_.path() + "/none"); }),
              HasSubstr("no snapshot at"));
}

TEST_F(StoreTest, SnapshotInAnotherOnesPlaceIsDamaged) {
  make_snapshot(store_, "sim");
  fs::rename(store_.location() + "/sim/1", store_.location() + "/sim/2");
  EXPECT_THAT(refusal(ErrorKind::Damaged, [&] { store_.open({"sim", 2}); }),
              HasSubstr("holds the snapshot sim@1 instead of sim@2"));
}

TEST_F(StoreTest, DamagedSnapshotIsListedWithItsDamage) {
  make_snapshot(store_, "sim");
  make_snapshot(store_, "sim");
  write_text(store_.location() + "/sim/1/manifest", "nonsense");
  const std::vector<SnapshotInfo> snapshots = store_.list();
  ASSERT_EQ(snapshots.size(), 2U);
  ASSERT_TRUE(snapshots[0].damage.has_value());
  EXPECT_EQ(exit_status_of(snapshots[0].damage->kind()), 4);
  EXPECT_FALSE(snapshots[1].damage.has_value());
  EXPECT_EQ(store_.remove({"sim", 1}).references.size(), 1U);
  EXPECT_THAT(listed(), ElementsAre("sim@2"));
}

TEST_F(StoreTest, NeitherPartialNorRemovedNorStrangeEntriesAreListed) {
  make_snapshot(store_, "sim");
  for (const char* name : {".partial-2-abcdef", ".removed-3-abcdef", "04", "x5", "-6", "7x", "18446744073709551616"}) {
    fs::copy(store_.location() + "/sim/1", store_.location() + "/sim/" + name, fs::copy_options::recursive);
  }
  fs::create_directory(store_.location() + "/.hidden");
  EXPECT_THAT(listed(), ElementsAre("sim@1"));
  EXPECT_FALSE(fs::exists(store_.location() + "/sim/.partial-2-abcdef")) << "a leftover is cleaned by listing";
  EXPECT_FALSE(fs::exists(store_.location() + "/sim/.removed-3-abcdef"));
}

TEST_F(StoreTest, ListingRemovesAJobThatNeverHadASnapshot) {
  const std::string job = store_.create_job("sim").path();
  fs::create_directory(job + "/.partial-1-abcdef");
  for (const char* name : {"/lock", "/remembered"}) write_text(job + name, "");
  EXPECT_THAT(listed(), ElementsAre());
  EXPECT_FALSE(fs::exists(job));
  make_snapshot(store_, "sim");
  store_.remove_job("sim");
  EXPECT_THAT(listed(), ElementsAre());
  EXPECT_EQ(make_snapshot(store_, "sim").to_string(), "sim@2") << "a number is never given twice";
}

TEST_F(StoreTest, WriterThatIsGivenUpLeavesNothing) {
  make_snapshot(store_, "sim");
  std::string location;
  {
    const std::unique_ptr<SnapshotWriter> writer = store_.begin(request_of("sim"));
    location = writer->location();
    EXPECT_EQ(mode_of(location), 0700U);
    write_text(location + "/process", "half");
    EXPECT_THAT(listed(), ElementsAre("sim@1"));
    EXPECT_TRUE(fs::exists(location)) << "listing leaves a snapshot in the making alone";
  }
  EXPECT_FALSE(fs::exists(location));
  EXPECT_EQ(make_snapshot(store_, "sim").to_string(), "sim@2");
}

TEST_F(StoreTest, WriterThatIsGivenUpTakesAStoreOfItsOwnAlong) {
  const std::string above = directory_.path() + "/new";
  Store store(above + "/store");
  store.begin(request_of("sim")).reset();
  EXPECT_FALSE(fs::exists(above));
  std::unique_ptr<SnapshotWriter> writer = store.begin(request_of("sim"));
  store.create_job("other");
  writer.reset();
  EXPECT_TRUE(fs::exists(store.location() + "/other")) << "others use it by now";
  EXPECT_FALSE(fs::exists(store.location() + "/sim"));
}

TEST_F(StoreTest, SecondCheckpointSaysThatItWaitsAndGivesUpInTime) {
  const std::unique_ptr<SnapshotWriter> first = store_.begin(request_of("sim"));
  SnapshotRequest request = request_of("sim");
  request.wait_limit = std::chrono::milliseconds(30);
  std::vector<std::string> lines;
  request.progress = [&](const std::string& line) { lines.push_back(line); };
  EXPECT_THAT(refusal(ErrorKind::Failed, [&] { store_.begin(request); }),
              HasSubstr("another checkpoint of sim is still going on"));
  EXPECT_THAT(lines, ElementsAre("waiting for another checkpoint of sim"));
  EXPECT_NO_THROW(store_.begin(request_of("other"))) << "other jobs do not wait";
}

TEST_F(StoreTest, LockIsFreeAfterTheCommit) {
  const std::unique_ptr<SnapshotWriter> first = store_.begin(request_of("sim"));
  first->commit(some_contents());
  SnapshotRequest request = request_of("sim");
  request.wait_limit = std::chrono::milliseconds(0);
  EXPECT_EQ(store_.begin(request)->reference().to_string(), "sim@2");
}

TEST_F(StoreTest, CommitIsForOnce) {
  const std::unique_ptr<SnapshotWriter> writer = store_.begin(request_of("sim"));
  writer->commit(some_contents());
  EXPECT_THAT(refusal(ErrorKind::Failed, [&] { writer->commit(some_contents()); }), HasSubstr("committed before"));
  EXPECT_THAT(listed(), ElementsAre("sim@1"));
}

TEST_F(StoreTest, CommitRefusesWhatIsNoFile) {
  for (const bool link : {true, false}) {
    const std::unique_ptr<SnapshotWriter> writer = store_.begin(request_of("sim"));
    if (link) {
      fs::create_symlink("/etc/passwd", writer->location() + "/x");
    } else {
      ASSERT_EQ(::mkfifo((writer->location() + "/x").c_str(), 0600), 0);
    }
    EXPECT_THAT(refusal(ErrorKind::Failed, [&] { writer->commit(some_contents()); }),
                HasSubstr("/x is not a regular file"));
    EXPECT_FALSE(fs::exists(writer->location()));
  }
  EXPECT_THAT(listed(), IsEmpty());
}

TEST_F(StoreTest, CommitRefusesAManifestOfTheComponent) {
  const std::unique_ptr<SnapshotWriter> writer = store_.begin(request_of("sim"));
  write_text(writer->location() + "/manifest", "mine");
  EXPECT_THAT(refusal(ErrorKind::Failed, [&] { writer->commit(some_contents()); }), HasSubstr("not the component's"));
}

TEST_F(StoreTest, RemovalTellsWhatWent) {
  make_snapshot(store_, "sim");
  make_snapshot(store_, "sim");
  const RemovedSnapshots removed = store_.remove({"sim", {}});
  ASSERT_EQ(removed.references.size(), 1U);
  EXPECT_EQ(removed.references[0].to_string(), "sim@2");
  EXPECT_GT(removed.bytes, 0U);
  EXPECT_NO_THROW(store_.remove({"sim", 1}));
  EXPECT_THAT(refusal(ErrorKind::NotFound, [&] { store_.remove({"sim", 1}); }), HasSubstr("no snapshot"));
  EXPECT_THAT(refusal(ErrorKind::NotFound, [&] { store_.remove_job("sim"); }), HasSubstr("no snapshot of sim"));
}

TEST_F(StoreTest, SetAsideIsKeptOnlyIfItIsUsed) {
  make_snapshot(store_, "sim");
  std::string unused;
  std::string used;
  {
    const SetAside first = store_.make_set_aside({"sim", 1});
    const SetAside second = store_.make_set_aside({"sim", 1});
    EXPECT_EQ(mode_of(first.path()), 0700U);
    unused = first.path();
    used = second.path();
    EXPECT_THAT(unused, HasSubstr("/sim/set-aside/1-2"));
    EXPECT_EQ(store_.remove_job("sim").set_aside, "") << "nothing has been set aside yet";
    make_snapshot(store_, "sim");
    write_text(used + "/tail", "cut off");
  }
  EXPECT_FALSE(fs::exists(unused));
  EXPECT_TRUE(fs::exists(used + "/tail"));
  EXPECT_EQ(store_.remove_job("sim").set_aside, store_.location() + "/sim/set-aside");
  EXPECT_TRUE(fs::exists(used + "/tail")) << "what was cut from the user's files is never removed";
}

TEST_F(StoreTest, DirectoriesForWhatIsSetAsideComeAndGoAtTheSameTime) {
  make_snapshot(store_, "sim");
  const auto come_and_go = [&] {
    for (int i = 0; i < 2000; ++i) EXPECT_TRUE(fs::exists(store_.make_set_aside({"sim", 1}).path()));
  };
  std::thread other(come_and_go);
  come_and_go();
  other.join();
}

TEST_F(StoreTest, OpenToOthersIsRefused) {
  make_snapshot(store_, "sim");
  for (const mode_t mode : {0750U, 0701U, 0720U}) {
    ASSERT_EQ(::chmod(store_.location().c_str(), mode), 0);
    EXPECT_THAT(refusal(ErrorKind::Failed, [&] { store_.list(); }), HasSubstr("chmod 700"));
  }
}

TEST_F(StoreTest, OfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory to another user";
  make_snapshot(store_, "sim");
  ASSERT_EQ(::chown(store_.location().c_str(), 1234, 1234), 0);
  EXPECT_THAT(refusal(ErrorKind::Failed, [&] { Store{store_.location()}; }), HasSubstr("belongs to user 1234"));
}

TEST_F(StoreTest, ThatCannotBeCreatedSaysWhereToPutIt) {
  write_text(directory_.path() + "/file", "");
  EXPECT_THAT(refusal(ErrorKind::Failed, [&] { Store{directory_.path() + "/file/store"}; }),
              HasSubstr("Not a directory"));
  Store in_proc("/proc/crs-store");
  EXPECT_THAT(refusal(ErrorKind::Failed, [&] { in_proc.begin(request_of("sim")); }),
              HasSubstr("/proc/crs-store: No such file"));
}

TEST_F(StoreTest, LinksInsideAreNotFollowed) {
  const TemporaryDirectory outside;
  Store other(outside.path() + "/store");
  make_snapshot(other, "sim");
  make_snapshot(store_, "own");
  fs::create_directory_symlink(other.location() + "/sim", store_.location() + "/sim");
  fs::create_directory_symlink(other.location() + "/sim/1", store_.location() + "/own/2");
  EXPECT_THAT(refusal(ErrorKind::Damaged, [&] { store_.open({"sim", 1}); }), HasSubstr("symbolic links"));
  refusal(ErrorKind::Damaged, [&] { store_.begin(request_of("sim")); });
  // Nor is an older snapshot taken for the newest one.
  EXPECT_THAT(listed(), ElementsAre("own@1", "own@2"));
  EXPECT_THAT(refusal(ErrorKind::Damaged, [&] { store_.open({"own", std::nullopt}); }), HasSubstr("symbolic links"));
  store_.remove({"own", 2});
  EXPECT_THAT(listed(), ElementsAre("own@1"));
  EXPECT_NO_THROW(verify_snapshot(other.location() + "/sim/1"));
}

TEST_F(StoreTest, AFileInTheNewestSnapshotsPlaceIsDamage) {
  make_snapshot(store_, "own");
  write_text(store_.location() + "/own/2", "not a snapshot");
  refusal(ErrorKind::Damaged, [&] { store_.open({"own", std::nullopt}); });
  EXPECT_EQ(make_snapshot(store_, "own").to_string(), "own@3");
  store_.remove({"own", 2});
  EXPECT_THAT(listed(), ElementsAre("own@1", "own@3"));
}

TEST_F(StoreTest, RemovalDoesNotFollowLinks) {
  const TemporaryDirectory outside;
  write_text(outside.path() + "/kept/file", "kept");
  make_snapshot(store_, "sim");
  fs::create_directory_symlink(outside.path() + "/kept", store_.location() + "/sim/1/files/link");
  fs::create_directory(store_.location() + "/sim/.partial-9-aaaaaa");
  fs::create_directory_symlink(outside.path() + "/kept", store_.location() + "/sim/.partial-9-aaaaaa/link");
  fs::create_directory_symlink(outside.path() + "/kept", store_.location() + "/sim/.partial-8-aaaaaa");
  store_.remove({"sim", 1});
  EXPECT_THAT(listed(), IsEmpty());
  EXPECT_FALSE(fs::exists(fs::symlink_status(store_.location() + "/sim/.partial-8-aaaaaa")));
  EXPECT_TRUE(fs::exists(outside.path() + "/kept/file"));
}

class DefaultLocationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"CRS_STORE", "XDG_STATE_HOME", "HOME"}) {
      const char* value = std::getenv(name);
      saved_.emplace_back(name, value == nullptr ? std::nullopt : std::optional<std::string>(value));
      ::unsetenv(name);
    }
  }
  void TearDown() override {
    for (const auto& [name, value] : saved_) {
      ::unsetenv(name);
      if (value) ::setenv(name, value->c_str(), 1);
    }
  }

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> saved_;
};

TEST_F(DefaultLocationTest, FollowsTheEnvironment) {
  if (::getpwuid(::geteuid()) == nullptr) {
    EXPECT_THAT(text_of_error(ErrorKind::Failed, [] { Store::default_location(); }), HasSubstr("CRS_STORE"));
  } else {
    const std::string from_password_file = Store::default_location();
    EXPECT_TRUE(from_password_file.starts_with('/') && from_password_file.ends_with("/.local/state/crs"))
        << from_password_file;
  }
  ::setenv("HOME", "/home/somebody", 1);
  EXPECT_EQ(Store::default_location(), "/home/somebody/.local/state/crs");
  ::setenv("XDG_STATE_HOME", "relative", 1);
  EXPECT_EQ(Store::default_location(), "/home/somebody/.local/state/crs");
  ::setenv("XDG_STATE_HOME", "/state", 1);
  EXPECT_EQ(Store::default_location(), "/state/crs");
  ::setenv("CRS_STORE", "/elsewhere", 1);
  EXPECT_EQ(Store::default_location(), "/elsewhere");
}

}  // namespace
}  // namespace crs
