#include "engine/resources/memory/file_identity.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>

#include "base/io.h"

namespace crs::engine {
namespace {

using ::testing::HasSubstr;

class FileIdentityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-files-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/file";
    write(path_, "content");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static void write(const std::string& path, const std::string& content) {
    write_all(open_file(path, O_WRONLY | O_CREAT | O_TRUNC).get(), path, as_byte_span(content));
  }
  // The line of maps of a mapping of `descriptor`.
  static MapsLine line_of(int descriptor, int flags = MAP_PRIVATE) {
    void* const place = ::mmap(nullptr, kPageSize, PROT_READ, flags, descriptor, 0);
    EXPECT_NE(place, MAP_FAILED);
    for (const MapsLine& line : read_maps(::getpid())) {
      if (line.range.start.value == reinterpret_cast<std::uint64_t>(place)) {
        ::munmap(place, kPageSize);
        return line;
      }
    }
    ADD_FAILURE() << "not in maps";
    return {};
  }

  std::string directory_;
  std::string path_;
};

TEST_F(FileIdentityTest, FindsAFileUnderAnyName) {
  for (const char* name :
       {"plain", "with spaces", "ends (deleted)", "new\nline", "back\\012slash", "both\nand\\012", "\\012\n"}) {
    const std::string path = directory_ + "/" + name;
    write(path, "x");
    const Backing backing = Backings().of(line_of(open_file(path, O_RDONLY).get()));
    EXPECT_EQ(backing.kind, BackingKind::File) << name;
    EXPECT_EQ(backing.path, path);
  }
}

TEST_F(FileIdentityTest, TellsSharedMemoryFromMappedFiles) {
  EXPECT_TRUE(is_shared_memory(line_of(-1, MAP_SHARED | MAP_ANONYMOUS)));
  EXPECT_FALSE(is_shared_memory(line_of(open_file(path_, O_RDWR).get(), MAP_SHARED)));
  EXPECT_FALSE(is_shared_memory(line_of(open_file(path_, O_RDONLY).get(), MAP_PRIVATE)));
  EXPECT_FALSE(is_shared_memory(line_of(open_file("/dev/zero", O_RDONLY).get(), MAP_PRIVATE)));
}

TEST_F(FileIdentityTest, SeesThatAFileIsGoneOrReplaced) {
  const FileDescriptor file = open_file(path_, O_RDONLY);
  const MapsLine before = line_of(file.get());
  write(directory_ + "/other", "content");
  std::filesystem::rename(directory_ + "/other", path_);
  EXPECT_EQ(Backings().of(before).kind, BackingKind::Gone);
  EXPECT_EQ(Backings().of(line_of(file.get())).kind, BackingKind::Gone);
  std::filesystem::remove(path_);
  EXPECT_EQ(Backings().of(before).kind, BackingKind::Gone);
}

TEST_F(FileIdentityTest, KnowsWhatIsNoFile) {
  const FileDescriptor zero = open_file("/dev/zero", O_RDWR);
  EXPECT_EQ(Backings().of(line_of(zero.get())).kind, BackingKind::ZeroDevice);
  EXPECT_EQ(Backings().of(line_of(zero.get(), MAP_SHARED)).kind, BackingKind::SharedZero);
  EXPECT_EQ(Backings().of(line_of(-1, MAP_SHARED | MAP_ANONYMOUS)).kind, BackingKind::SharedZero);
  const FileDescriptor memory(::memfd_create("m", 0));
  ASSERT_EQ(::ftruncate(memory.get(), 4096), 0);
  EXPECT_EQ(Backings().of(line_of(memory.get(), MAP_SHARED)).kind, BackingKind::Gone);
  MapsLine segment;
  segment.name = "/SYSV00000000 (deleted)";
  segment.shared = true;
  EXPECT_EQ(Backings().of(segment).kind, BackingKind::SystemV);
  MapsLine other;
  other.inode = 1;
  other.name = "/[aio] (deleted)";
  EXPECT_EQ(Backings().of(other).kind, BackingKind::AsynchronousIo);
  other.name = "anon_inode:[io_uring]";
  EXPECT_EQ(Backings().of(other).kind, BackingKind::Unsupported);
}

TEST_F(FileIdentityTest, SaysWhatChanged) {
  image::MappedFile file;
  ASSERT_TRUE(record_file(path_, file));
  file.set_private_areas(true);
  EXPECT_FALSE(what_changed(file));

  write(path_, "Content");
  const timespec later[2] = {{1, 0}, {1, 0}};
  ::utimensat(AT_FDCWD, path_.c_str(), later, 0);
  EXPECT_THAT(*what_changed(file), HasSubstr("was changed: its time"));
  write(path_, "content and more");
  EXPECT_THAT(*what_changed(file), HasSubstr("16 bytes instead of 7"));
  write(path_, "con");
  EXPECT_THAT(*what_changed(file), HasSubstr("shorter"));
  write(directory_ + "/other", "longer than before");
  std::filesystem::rename(directory_ + "/other", path_);
  EXPECT_THAT(*what_changed(file), HasSubstr("replaced"));
  std::filesystem::remove(path_);
  EXPECT_THAT(*what_changed(file), HasSubstr("missing"));
  std::filesystem::create_directory(path_);
  EXPECT_THAT(*what_changed(file), HasSubstr("no regular file"));
}

TEST_F(FileIdentityTest, ASharedFileMayBeWrittenButNotReplaced) {
  image::MappedFile file;
  ASSERT_TRUE(record_file(path_, file));
  file.set_shared_areas(true);
  write(path_, "content and more");
  EXPECT_FALSE(what_changed(file));
  write(directory_ + "/other", "content and more");
  std::filesystem::rename(directory_ + "/other", path_);
  EXPECT_THAT(*what_changed(file), HasSubstr("replaced"));
}

}  // namespace
}  // namespace crs::engine
