// Regular files, directories, places, unlinked files, memfds, devices.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/io.h"
#include "descriptors/round_trip.h"
#include "engine/resources/descriptors/content_copy.h"

namespace crs::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string content_of(const std::string& path) { return read_file(path); }

std::string read_some(int descriptor, std::size_t bytes) {
  std::string text(bytes, '\0');
  const ssize_t got = ::read(descriptor, text.data(), bytes);
  require(got >= 0, "read");
  text.resize(static_cast<std::size_t>(got));
  return text;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class Files : public ::testing::Test {
 protected:
  RoundTrip trip;
  std::string path = trip.folder / "file";
};

TEST_F(Files, KeepOffsetsFlagsAndDuplicates) {
  write_file(path, "0123456789");
  trip.carry(
      [&] {
        require(::open(path.c_str(), O_RDWR | O_CLOEXEC) == 0, "open");
        require(::lseek(0, 4, SEEK_SET) == 4, "lseek");
        require(::dup2(0, 9) == 9, "dup");
        require(::open(path.c_str(), O_WRONLY | O_APPEND | O_SYNC) == 1, "open");
        require(::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 2, "open");
        require(::dup2(2, 30) == 30 && ::close(2) == 0, "dup");
        require(::open(path.c_str(), O_RDONLY | O_NONBLOCK) == 2, "the same file, flags and offset again");
      },
      [&] {
        require(::fcntl(0, F_GETFD) == FD_CLOEXEC && ::fcntl(9, F_GETFD) == 0, "close-on-exec");
        require(read_some(0, 2) == "45" && read_some(9, 2) == "67", "0 and 9 share an offset");
        require((::fcntl(1, F_GETFL) & ~0100000) == (O_WRONLY | O_APPEND | O_SYNC), "flags");
        require(::write(1, "ab", 2) == 2, "append");
        require(read_some(2, 1) == "0" && read_some(30, 2) == "01", "2 and 30 do not");
        require((::fcntl(30, F_GETFL) & O_NONBLOCK) != 0, "flags");
        for (const int closed : {3, 4, 8, 10, 31, 100, 263, 264, 265, 300})
          require(::fcntl(closed, F_GETFD) < 0, "nothing else is open");
      });
  EXPECT_EQ(content_of(path), "0123456789ab");
}

TEST_F(Files, PositionBeyondTheEndIsKept) {
  write_file(path, "x");
  trip.carry([&] { require(::open(path.c_str(), O_WRONLY) == 0 && ::lseek(0, 100, SEEK_SET) == 100, "open"); },
             [&] { require(::lseek(0, 0, SEEK_CUR) == 100, "offset"); });
}

TEST_F(Files, GrownOneIsCutBackAndTheTailKept) {
  write_file(path, "first,");
  trip.capture([&] { require(::open(path.c_str(), O_WRONLY | O_APPEND) == 0, "open"); });
  write_file(path, "first,second");
  trip.check();
  trip.commit = true;
  EXPECT_EQ(trip.restore([&] {
    require(child_notes().size() == 1, "one note");
    require(child_notes()[0].find(path + " was cut back") != std::string::npos, child_notes()[0]);
    require(::write(0, "other", 5) == 5, "write");
  }),
            "");
  EXPECT_EQ(content_of(path), "first,other");
  std::string name = path.substr(1) + ".from-6";
  std::ranges::replace(name, '/', '-');
  EXPECT_EQ(content_of(trip.options.set_aside_directory + "/" + name), "second");

  // A second restart of the same snapshot writes over nothing.
  EXPECT_EQ(trip.restore([&] { require(::write(0, "third", 5) == 5, "write"); }), "");
  EXPECT_EQ(content_of(path), "first,third");
  EXPECT_EQ(content_of(trip.options.set_aside_directory + "/" + name), "second");
  EXPECT_EQ(content_of(trip.options.set_aside_directory + "/" + name + ".1"), "other");
}

TEST_F(Files, NothingIsCutIfTheTailCannotBeKept) {
  write_file(path, "first,");
  trip.capture([&] { require(::open(path.c_str(), O_WRONLY) == 0, "open"); });
  write_file(path, "first,second");
  trip.options.set_aside_directory = trip.folder / "absent";
  trip.commit = true;
  EXPECT_THAT(trip.restore([] {}), HasSubstr("cannot create"));
  EXPECT_EQ(content_of(path), "first,second");
}

TEST_F(Files, MissingReplacedShorterAndChangedAreToldApart) {
  write_file(path, "0123456789");
  trip.capture([&] { require(::open(path.c_str(), O_RDONLY) == 0, "open"); });
  ASSERT_EQ(::rename(path.c_str(), (path + ".old").c_str()), 0);
  EXPECT_THAT(message_of([&] { trip.check(); }), HasSubstr("cannot open " + path + ": No such file"));
  write_file(path, "another one");
  EXPECT_THAT(message_of([&] { trip.check(); }), HasSubstr("has been replaced"));
  ASSERT_EQ(::rename((path + ".old").c_str(), path.c_str()), 0);
  EXPECT_EQ(message_of([&] { trip.check(); }), "no error");
  ASSERT_EQ(::truncate(path.c_str(), 5), 0);
  EXPECT_THAT(message_of([&] { trip.check(); }), HasSubstr("shorter than at the checkpoint (5 bytes, was 10)"));
  write_file(path, "9876543210");
  EXPECT_THAT(message_of([&] { trip.check(); }), HasSubstr("has been changed"));
  EXPECT_THAT(trip.restore([] {}), HasSubstr("has been changed"));
  EXPECT_THAT(trip.notes, IsEmpty());
  trip.options.changed_files = ChangedFiles::Accept;
  EXPECT_EQ(message_of([&] { trip.check(); }), "no error");
  EXPECT_THAT(trip.notes, ElementsAre(HasSubstr("accepted")));
}

TEST_F(Files, CopyWithSizeAndTimeOfTheOriginalIsTheSame) {
  write_file(path, "0123456789");
  trip.capture([&] { require(::open(path.c_str(), O_RDONLY) == 0, "open"); });
  struct stat original{};
  ASSERT_EQ(::stat(path.c_str(), &original), 0);
  ASSERT_EQ(::rename(path.c_str(), (path + ".old").c_str()), 0);
  write_file(path, "0123456789");
  const std::array<timespec, 2> times{original.st_atim, original.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
  EXPECT_EQ(message_of([&] { trip.check(); }), "no error");
}

TEST_F(Files, ReadingWhatIsAlsoWrittenToleratesItsGrowth) {
  write_file(path, "0123");
  trip.capture(
      [&] { require(::open(path.c_str(), O_RDONLY) == 0 && ::open(path.c_str(), O_WRONLY | O_APPEND) == 1, "open"); });
  write_file(path, "012345");
  EXPECT_EQ(message_of([&] { trip.check(); }), "no error");
}

TEST_F(Files, UnlinkedKeepContentHolesModeAndSharing) {
  constexpr off_t kSize = off_t{64} << 20;
  trip.carry(
      [&] {
        require(::open(path.c_str(), O_RDWR | O_CREAT, 0640) == 0, "open");
        require(
            ::pwrite(0, "middle", 6, kSize / 2) == 6 && ::ftruncate(0, kSize) == 0 && ::pwrite(0, "start", 5, 0) == 5,
            "write");
        require(::open(path.c_str(), O_RDONLY) == 1 && ::lseek(1, 1, SEEK_SET) == 1, "open");
        require(::open(path.c_str(), O_WRONLY | O_APPEND) == 2, "open");
        require(::unlink(path.c_str()) == 0, "unlink");
        require(::fchmod(0, 0440) == 0, "chmod");
      },
      [&] {
        struct stat status{};
        require(::fstat(0, &status) == 0 && status.st_size == kSize && status.st_nlink == 0, "size");
        require((status.st_mode & 07777) == 0440, "mode");
        require(status.st_blocks * 512 < 1 << 20, "holes");
        require(read_some(1, 4) == "tart", "content");
        require(::lseek(0, kSize / 2, SEEK_SET) > 0 && read_some(0, 6) == "middle", "content");
        require(::write(2, "end", 3) == 3, "append");
        require(::lseek(1, kSize, SEEK_SET) == kSize && read_some(1, 9) == "end", "one file");
        require(::access(path.c_str(), F_OK) != 0, "no path");
      });
  ASSERT_EQ(trip.image.objects_size(), 1);
  struct stat stored{};
  ASSERT_EQ(::stat((trip.folder / "snapshot/files/0").c_str(), &stored), 0);
  EXPECT_LT(stored.st_size, 1 << 20);
}

TEST_F(Files, WriteOnlyUnlinkedAndTemporaryAndEmptyOnes) {
  trip.carry(
      [&] {
        require(::open(path.c_str(), O_WRONLY | O_CREAT, 0600) == 0 && ::unlink(path.c_str()) == 0, "open");
        require(::write(0, "abc", 3) == 3, "write");
        require(::open(trip.folder.path().c_str(), O_TMPFILE | O_RDWR, 0600) == 1, "temporary");
        require(::write(1, "tmp", 3) == 3, "write");
        require(::open(path.c_str(), O_RDWR | O_CREAT, 0600) == 2 && ::unlink(path.c_str()) == 0, "open");
      },
      [&] {
        require(::lseek(0, 0, SEEK_CUR) == 3, "offset");
        require(::lseek(1, 0, SEEK_SET) == 0 && read_some(1, 9) == "tmp", "content");
        require(read_some(2, 9).empty(), "empty");
      });
}

TEST_F(Files, ReplacedByRenameIsKeptByContent) {
  write_file(path, "old");
  write_file(path + ".new", "new");
  trip.carry(
      [&] {
        require(::open(path.c_str(), O_RDONLY) == 0, "open");
        require(::rename((path + ".new").c_str(), path.c_str()) == 0, "rename");
        require(::open(path.c_str(), O_RDONLY) == 1, "open");
      },
      [&] { require(read_some(0, 9) == "old" && read_some(1, 9) == "new", "content"); });
}

TEST_F(Files, NameThatEndsInDeletedIsAnOrdinaryName) {
  const std::string odd = path + " (deleted)";
  write_file(odd, "here");
  ASSERT_EQ(::link(odd.c_str(), (trip.folder / "a").c_str()), 0);
  trip.carry([&] { require(::open(odd.c_str(), O_RDONLY) == 0, "open"); },
             [&] {
               require(read_some(0, 9) == "here", "content");
               require(std::filesystem::read_symlink("/proc/self/fd/0") == odd, "name");
             });
  EXPECT_EQ(trip.image.objects_size(), 0);
}

TEST_F(Files, OtherNameInTheSameDirectoryIsTaken) {
  write_file(path, "linked");
  ASSERT_EQ(::link(path.c_str(), (path + ".other").c_str()), 0);
  trip.carry([&] { require(::open(path.c_str(), O_RDWR) == 0 && ::unlink(path.c_str()) == 0, "open"); },
             [&] { require(read_some(0, 9) == "linked" && ::pwrite(0, "L", 1, 0) == 1, "content"); });
  EXPECT_EQ(trip.image.objects_size(), 0);
  EXPECT_THAT(trip.warnings, IsEmpty());
  EXPECT_EQ(read_file(path + ".other"), "Linked");
}

TEST_F(Files, OtherNameElsewhereIsWarnedOf) {
  write_file(path, "linked");
  std::filesystem::create_directory(trip.folder / "elsewhere");
  ASSERT_EQ(::link(path.c_str(), (trip.folder / "elsewhere/other").c_str()), 0);
  trip.carry([&] { require(::open(path.c_str(), O_RDONLY) == 0 && ::unlink(path.c_str()) == 0, "open"); },
             [&] { require(read_some(0, 9) == "linked", "content"); });
  EXPECT_THAT(trip.warnings, ElementsAre(HasSubstr("another name")));
}

TEST_F(Files, DirectoriesAndPlaces) {
  for (const char* name : {"a", "b", "c", "d"}) write_file(trip.folder / name, name);
  ASSERT_EQ(::symlink("a", (trip.folder / "link").c_str()), 0);
  trip.carry(
      [&] {
        require(::open(trip.folder.path().c_str(), O_RDONLY | O_DIRECTORY) == 0, "open");
        require(::open((trip.folder / "a").c_str(), O_PATH) == 1, "open");
        require(::open((trip.folder / "link").c_str(), O_PATH | O_NOFOLLOW) == 2, "open");
        require(::open(trip.folder.path().c_str(), O_PATH) == 3, "open");
      },
      [&] {
        require(::faccessat(0, "b", F_OK, 0) == 0 && ::faccessat(3, "c", F_OK, 0) == 0, "directory");
        require((::fcntl(1, F_GETFL) & O_PATH) != 0 && ::read(1, nullptr, 0) < 0 && errno == EBADF, "place");
        struct stat status{};
        require(::fstat(2, &status) == 0 && S_ISLNK(status.st_mode), "link");
      });
}

TEST_F(Files, DevicesOpenAgain) {
  trip.carry(
      [&] {
        require(::open("/dev/null", O_RDWR) == 0, "open");
        require(::open("/dev/zero", O_RDONLY) == 1, "open");
        require(::open("/dev/full", O_WRONLY) == 2, "open");
        require(::open("/dev/urandom", O_RDONLY | O_NONBLOCK) == 3, "open");
        require(::open("/dev/random", O_RDONLY) == 4, "open");
      },
      [&] {
        require(::write(0, "x", 1) == 1 && read_some(0, 1).empty(), "null");
        require(read_some(1, 1) == std::string(1, '\0'), "zero");
        require(::write(2, "x", 1) < 0 && errno == ENOSPC, "full");
        require(read_some(3, 8).size() == 8 && read_some(4, 8).size() == 8, "random");
        require((::fcntl(3, F_GETFL) & O_NONBLOCK) != 0, "flags");
      });
}

TEST_F(Files, ProcessesOwnFilesInProc) {
  trip.carry(
      [&] { require(::open("/proc/self/status", O_RDONLY) == 0 && ::open("/proc/meminfo", O_RDONLY) == 1, "open"); },
      [&] {
        require(read_some(0, 4096).find("Pid:\t" + std::to_string(::getpid())) != std::string::npos, "its own");
        require(read_some(1, 8) == "MemTotal", "content");
      });
}

TEST_F(Files, MemoryFilesKeepNameContentModeAndSeals) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_WRITE;
  trip.carry(
      [&] {
        require(::memfd_create("a name", MFD_ALLOW_SEALING) == 0, "memfd");
        require(::write(0, "content", 7) == 7 && ::fcntl(0, F_ADD_SEALS, kSeals) == 0, "write");
        require(::open("/proc/self/fd/0", O_RDONLY) == 1, "again");
        require(::memfd_create("", MFD_CLOEXEC) == 2 && ::ftruncate(2, 1 << 20) == 0, "unsealable");
      },
      [&] {
        require(::fcntl(0, F_GET_SEALS) == kSeals && ::fcntl(2, F_GET_SEALS) == F_SEAL_SEAL, "seals");
        require(::lseek(0, 0, SEEK_CUR) == 7 && read_some(1, 9) == "content", "content");
        require(::pwrite(0, "x", 1, 0) < 0 && errno == EPERM, "sealed");
        require(read_link("/proc/self/fd/0") == "/memfd:a name (deleted)", "name");
        struct stat status{};
        require(::fstat(2, &status) == 0 && status.st_size == 1 << 20 && status.st_blocks == 0, "size");
        require((::fcntl(0, F_GETFL) & O_ACCMODE) == O_RDWR && (::fcntl(1, F_GETFL) & O_ACCMODE) == O_RDONLY, "modes");
      });
}

TEST_F(Files, LocksAreTakenAgain) {
  write_file(path, "0123456789");
  trip.carry(
      [&] {
        require(::open(path.c_str(), O_RDWR) == 0 && ::open(path.c_str(), O_RDONLY) == 1, "open");
        require(::flock(1, LOCK_SH) == 0, "flock");
        struct flock range{};
        range.l_type = F_WRLCK;
        range.l_start = 2;
        range.l_len = 3;
        require(::fcntl(0, F_SETLK, &range) == 0, "posix");
        range.l_start = 7;
        range.l_len = 0;
        require(::fcntl(0, F_OFD_SETLK, &range) == 0, "description");
      },
      [&] {
        const std::string info = read_file(std::string("/proc/self/fdinfo/0"));
        require(info.find("POSIX  ADVISORY  WRITE") != std::string::npos && info.find(" 2 4\n") != std::string::npos,
                info);
        require(info.find("OFDLCK ADVISORY  WRITE") != std::string::npos && info.find(" 7 EOF\n") != std::string::npos,
                info);
        require(read_file(std::string("/proc/self/fdinfo/1")).find("FLOCK  ADVISORY  READ") != std::string::npos,
                "flock");
      });
  EXPECT_EQ(trip.image.locks_size(), 3);
}

TEST_F(Files, LeftOutComesBackDead) {
  write_file(path, "0123456789");
  trip.leave_out = {"fd=1"};
  trip.carry([&] { require(::open(path.c_str(), O_RDWR) == 0 && ::dup(0) == 1, "open"); },
             [&] {
               require(::write(0, "x", 1) == 1, "0 lives");
               require(::fcntl(1, F_GETFD) >= 0 && ::write(1, "x", 1) < 0 && errno == EBADF, "1 is dead");
             });
}

TEST_F(Files, LeaseIsRefused) {
  write_file(path, "x");
  EXPECT_THAT(message_of([&] {
                trip.capture([&] {
                  require(::open(path.c_str(), O_RDONLY) == 0 && ::fcntl(0, F_SETLEASE, F_RDLCK) == 0, "lease");
                });
              }),
              HasSubstr("lease"));
}

TEST_F(Files, RemovedDirectoryComesBackRemoved) {
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  trip.carry([&] { require(::open(path.c_str(), O_RDONLY) == 0 && ::rmdir(path.c_str()) == 0, "open"); },
             [&] {
               struct stat status{};
               require(::fstat(0, &status) == 0 && S_ISDIR(status.st_mode) && status.st_nlink == 0, "0 is removed");
               require(::access(path.c_str(), F_OK) != 0 && errno == ENOENT, "nothing has its name");
             });
}

TEST(ContentCopy, SaysWhereThereIsNoRoom) {
  const FileDescriptor from(::memfd_create("source", MFD_CLOEXEC));
  write_all(from.get(), "source", as_byte_span(std::string("words")));
  const FileDescriptor full = open_file("/dev/full", O_WRONLY);  // full(4)
  try {
    needing_room("the target", [&] { copy_range(from.get(), 0, full.get(), 0, 5, {"the source", "the target"}); });
    FAIL() << "it was written";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot write the target"));
    EXPECT_THAT(error.advice(), HasSubstr("Make room on the file system of the target"));
  }
}

}  // namespace
}  // namespace crs::engine::testing
