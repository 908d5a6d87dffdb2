// A committed snapshot with anything changed is refused, whatever it is.
#include <gmock/gmock.h>

#include "store/directory_tree.h"
#include "store/extents/extent_file.h"
#include "store_fixture.h"

namespace crs {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SnapshotDamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::unique_ptr<SnapshotWriter> writer = store_.begin(request_of("sim"));
    write_text(writer->location() + "/process", "a small process image");
    write_text(writer->location() + "/files/1", "an unlinked file");
    write_text(writer->location() + "/files/2", "");
    ExtentWriter pages(writer->location(), "pages");
    const std::string page(4096, 'p');
    pages.append(as_byte_span(page), "the tag");
    pages.finish();
    writer->commit(some_contents());
    location_ = writer->final_location();
    for (const TreeEntry& entry : list_tree(open_file(location_, O_RDONLY | O_DIRECTORY).get(), location_)) {
      names_.push_back(entry.name);
    }
  }

  std::string path(const std::string& name) const { return location_ + "/" + name; }
  // The damage that verification finds, which must be of that kind.
  std::string damage() const {
    return text_of_error(ErrorKind::Damaged, [&] { verify_snapshot(location_); });
  }
  // The same where a restart finds it before it reads pages.
  std::string damage_before_restart() const {
    return text_of_error(ErrorKind::Damaged, [&] { verify_files_before_restart(location_); });
  }

  TemporaryDirectory directory_;
  Store store_{directory_.path()};
  std::string location_;
  std::vector<std::string> names_;
};

TEST_F(SnapshotDamageTest, SoundSnapshotPasses) {
  ASSERT_THAT(names_, ::testing::ElementsAre("files/1", "files/2", "manifest", "pages", "pages.index", "process"));
  EXPECT_NO_THROW(verify_snapshot(location_));
  EXPECT_NO_THROW(verify_files_before_restart(location_));
  EXPECT_EQ(SnapshotReader(location_).manifest().files(2).verified_by(), "pages.index");
}

TEST_F(SnapshotDamageTest, EveryFlippedByteIsFound) {
  for (const std::string& name : names_) {
    const std::string good = read_file(path(name));
    for (std::size_t i = 0; i < good.size(); ++i) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
      write_text(path(name), bad);
      EXPECT_THAT(damage(), HasSubstr(name)) << "byte " << i;
      if (name != "pages") damage_before_restart();
    }
    write_text(path(name), good);
  }
  EXPECT_NO_THROW(verify_snapshot(location_));
}

TEST_F(SnapshotDamageTest, EveryTruncationIsFound) {
  for (const std::string& name : names_) {
    const std::string good = read_file(path(name));
    const std::size_t step = name == "pages" ? 97 : 1;
    for (std::size_t length = 0; length < good.size(); length += step) {
      write_text(path(name), good.substr(0, length));
      EXPECT_THAT(damage(), HasSubstr(name)) << length;
      EXPECT_THAT(damage_before_restart(), HasSubstr(name)) << length;
    }
    write_text(path(name), good + "x");
    EXPECT_THAT(damage_before_restart(), HasSubstr(name));
    write_text(path(name), good);
  }
}

TEST_F(SnapshotDamageTest, MissingFileIsFound) {
  for (const std::string& name : names_) {
    const std::string good = read_file(path(name));
    fs::remove(path(name));
    EXPECT_THAT(damage(), HasSubstr(name + " is missing"));
    EXPECT_THAT(damage_before_restart(), HasSubstr(name + " is missing"));
    write_text(path(name), good);
  }
}

TEST_F(SnapshotDamageTest, UnexpectedFileIsFound) {
  for (const std::string name : {"extra", "files/3", "pages.index.old"}) {
    write_text(path(name), "");
    EXPECT_THAT(damage(), HasSubstr(name + " is not part of the snapshot"));
    EXPECT_THAT(damage_before_restart(), HasSubstr(name));
    fs::remove(path(name));
  }
}

TEST_F(SnapshotDamageTest, LinkInAFilesPlaceIsFound) {
  const TemporaryDirectory outside;
  for (const std::string& name : names_) {
    fs::rename(path(name), outside.path() + "/same");
    fs::create_symlink(outside.path() + "/same", path(name));
    EXPECT_THAT(damage(), HasSubstr("symbolic link")) << name;
    EXPECT_THAT(damage_before_restart(), HasSubstr("symbolic link")) << name;
    fs::rename(outside.path() + "/same", path(name));
  }
  fs::rename(path("files"), outside.path() + "/files");
  fs::create_directory_symlink(outside.path() + "/files", path("files"));
  EXPECT_THAT(damage(), HasSubstr("symbolic link"));
}

TEST_F(SnapshotDamageTest, OtherThingInAFilesPlaceIsFound) {
  for (const std::string& name : names_) {
    const std::string good = read_file(path(name));
    fs::remove(path(name));
    ASSERT_EQ(::mkfifo(path(name).c_str(), 0600), 0);
    EXPECT_THAT(damage(), HasSubstr("regular file")) << name;
    fs::remove(path(name));
    fs::create_directory(path(name));
    damage_before_restart();
    fs::remove(path(name));
    write_text(path(name), good);
  }
}

TEST_F(SnapshotDamageTest, AllFaultsAreCounted) {
  write_text(path("process"), "x");
  write_text(path("files/1"), "x");
  write_text(path("extra"), "x");
  EXPECT_EQ(SnapshotReader(location_).find_damage().size(), 3U);
  EXPECT_THAT(damage(), HasSubstr("and 2 more faults"));
}

TEST_F(SnapshotDamageTest, ReadVerifiedChecksWhatItReads) {
  const SnapshotReader reader(location_);
  EXPECT_EQ(reader.read_verified("process"), "a small process image");
  EXPECT_EQ(reader.read_verified("files/2"), "");
  text_of_error(ErrorKind::Damaged, [&] { static_cast<void>(reader.read_verified("none")); });
  text_of_error(ErrorKind::Failed, [&] { static_cast<void>(reader.read_verified("pages")); });
  text_of_error(ErrorKind::Failed, [&] { static_cast<void>(reader.read_verified("process", 3)); });
  write_text(path("process"), "A small process image");
  EXPECT_THAT(text_of_error(ErrorKind::Damaged, [&] { static_cast<void>(reader.read_verified("process")); }),
              HasSubstr("checksum"));
}

TEST_F(SnapshotDamageTest, HugeManifestIsNotRead) {
  fs::permissions(path("manifest"), fs::perms::owner_all);
  fs::resize_file(path("manifest"), std::uint64_t{1} << 40);
  EXPECT_THAT(damage(), HasSubstr("more than the"));
}

}  // namespace
}  // namespace crs
