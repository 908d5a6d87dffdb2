// What a snapshot of component self holds, and what becomes of files that are not what it writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "self/memory_file.h"
#include "self/program_record.h"
#include "self/temporary_directory.h"
#include "self/words.h"

namespace crs::self {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::Failed, ""};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

TEST(Words, AreTakenApartWithoutAShell) {
  EXPECT_THAT(split_words("  a\tb\nc "), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split_words(R"(prog 'a b' "c d" e\ f '' x'y'"z")"), ElementsAre("prog", "a b", "c d", "e f", "", "xyz"));
  EXPECT_THAT(split_words(R"("a\"b" 'a\b' $HOME *; |)"), ElementsAre("a\"b", "a\\b", "$HOME", "*;", "|"));
  EXPECT_THAT(error_of([] { split_words("a 'b"); }).what(), HasSubstr("quotation"));
  EXPECT_THAT(error_of([] { split_words(" \n"); }).what(), HasSubstr("empty"));
}

class MemoryFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::iota(large_.begin(), large_.end(), 0U);
    write_memory_file(path_, {{7, small_.data(), small_.size()}, {9, nullptr, 0}, {12, large_.data(), bytes()}});
  }
  std::size_t bytes() const { return large_.size() * sizeof large_[0]; }

  // The file with its list of areas changed and summed anew, as a forger could.
  void forge(std::size_t place, std::uint64_t number) {
    std::string content = read_file(path_);
    const std::size_t summed = 16 + 3 * 40;
    std::memcpy(content.data() + place, &number, sizeof number);
    const std::string hash = hash128(as_byte_span(std::string_view(content).substr(0, summed))).to_bytes();
    content.replace(summed, hash.size(), hash);
    write_file(path_, content);
  }

  crs::testing::TemporaryDirectory directory_;
  std::string path_ = directory_.file(kMemoryFile);
  std::string small_ = "hello";
  std::vector<std::uint32_t> large_ = std::vector<std::uint32_t>(700'000);
};

// crs reads it for its checksum.
TEST_F(MemoryFileTest, IsItsOwnersToReadWhateverTheUmask) {
  const mode_t usual = ::umask(0477);
  const std::string other = path_ + ".other";
  write_memory_file(other, {});
  ::umask(usual);
  struct stat status{};
  ASSERT_EQ(::stat(other.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & ACCESSPERMS, mode_t{S_IRUSR | S_IWUSR});
}

TEST_F(MemoryFileTest, BringsBackWhatWasWritten) {
  const MemoryFile file(path_);
  EXPECT_EQ(file.size(), 3U);
  std::string text(5, '.');
  file.read(7, text.data(), text.size());
  EXPECT_EQ(text, "hello");
  std::vector<std::uint32_t> numbers(large_.size());
  file.read(12, numbers.data(), bytes());
  EXPECT_EQ(numbers, large_);
  EXPECT_EQ(file.bytes_of(9), 0U);
  EXPECT_EQ(file.bytes_of(8), std::nullopt);
  EXPECT_THAT(error_of([&] { file.read(7, text.data(), 4); }).what(), HasSubstr("5 bytes in the snapshot and 4"));
}

TEST_F(MemoryFileTest, IsWholeWhileTheMemoryChanges) {
  std::atomic<bool> done = false;
  std::vector<std::atomic<std::uint32_t>> changing(300'000);
  std::jthread writer([&] {
    for (std::uint32_t round = 0; !done; ++round) {
      for (auto& number : changing) number.store(round, std::memory_order_relaxed);
    }
  });
  const std::string path = directory_.file("changing");
  write_memory_file(path, {{1, changing.data(), changing.size() * 4}});
  done = true;
  writer.join();
  std::vector<std::uint32_t> numbers(changing.size());
  MemoryFile(path).read(1, numbers.data(), numbers.size() * 4);
}

TEST_F(MemoryFileTest, EveryFlippedByteIsNoticed) {
  std::string content = read_file(path_);
  std::vector<std::size_t> places(16 + 3 * 40 + 16 + 5);
  std::iota(places.begin(), places.end(), std::size_t{0});
  places.push_back(content.size() - 1);
  std::string text(5, '.');
  for (const std::size_t place : places) {
    std::string changed = content;
    changed[place] = static_cast<char>(changed[place] ^ 0x10);
    write_file(path_, changed);
    const Error error = error_of([&] {
      const MemoryFile file(path_);
      file.read(7, text.data(), 5);
      file.read(12, large_.data(), bytes());
    });
    EXPECT_EQ(error.kind(), ErrorKind::Damaged) << place << ": " << error.what();
  }
}

TEST_F(MemoryFileTest, DamageLeavesTheMemoryAlone) {
  std::string content = read_file(path_);
  content[16 + 3 * 40 + 16 + 4] ^= 1;
  write_file(path_, content);
  std::string text = "mine!";
  EXPECT_EQ(error_of([&] { MemoryFile(path_).read(7, text.data(), 5); }).kind(), ErrorKind::Damaged);
  EXPECT_EQ(text, "mine!");
}

TEST_F(MemoryFileTest, CutAndExtendedFilesAreDamaged) {
  const std::string content = read_file(path_);
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{8}, std::size_t{31}, std::size_t{100}, content.size() - 1}) {
    write_file(path_, content.substr(0, length));
    EXPECT_EQ(error_of([&] { MemoryFile{path_}; }).kind(), ErrorKind::Damaged) << length;
  }
  write_file(path_, content + "x");
  EXPECT_EQ(error_of([&] { MemoryFile{path_}; }).kind(), ErrorKind::Damaged);
}

TEST_F(MemoryFileTest, ForgedNumbersAreNotBelieved) {
  const std::string content = read_file(path_);
  const std::uint64_t huge = ~std::uint64_t{0};
  // The count; of the first area its place and its size; the second area's number.
  for (const auto& [place, number] : std::vector<std::pair<std::size_t, std::uint64_t>>{{8, huge},
                                                                                        {8, huge / 40 + 2},
                                                                                        {8, 2},
                                                                                        {24, 0},
                                                                                        {24, huge - 3},
                                                                                        {32, huge},
                                                                                        {32, huge - 200},
                                                                                        {32, 6},
                                                                                        {56, 7}}) {
    write_file(path_, content);
    forge(place, number);
    EXPECT_EQ(error_of([&] { MemoryFile{path_}; }).kind(), ErrorKind::Damaged) << place << " " << number;
  }
}

TEST_F(MemoryFileTest, MemoryThatIsGoneIsAnError) {
  void* const gone = ::mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const Error error = error_of([&] { write_memory_file(directory_.file("gone"), {{3, gone, 8192}}); });
  EXPECT_THAT(error.what(), HasSubstr("protected memory 3"));
  ::munmap(gone, 8192);
}

TEST(ProgramRecordTest, IsReadBackOrDamaged) {
  const crs::testing::TemporaryDirectory directory;
  const std::string path = directory.file(kProgramFile);
  write_program_record(path, {"/bin/prog", {"prog", "", "a b\n"}, "/tmp"});
  const ProgramRecord record = read_program_record(path);
  EXPECT_EQ(record.executable, "/bin/prog");
  EXPECT_THAT(record.arguments, ElementsAre("prog", "", "a b\n"));
  EXPECT_EQ(record.working_directory, "/tmp");
  EXPECT_FALSE(record.reports);
  const std::string content = read_file(path);
  for (const std::string& bad :
       {std::string(), std::string("x"), content.substr(1), content.substr(0, content.size() - 1),
        content.substr(0, 30), std::string("crs-self-program 1\0\0/bin/prog\0tmp\0prog\0", 40),
        std::string("crs-self-program 1\0sometimes\0/bin/prog\0/tmp\0prog\0", 50)}) {
    write_file(path, bad);
    EXPECT_EQ(error_of([&] { read_program_record(path); }).kind(), ErrorKind::Damaged) << bad;
  }
  std::filesystem::remove(path);
  write_program_record(path, {"prog", {"prog"}, "/", true});
  EXPECT_TRUE(read_program_record(path).reports);
}

}  // namespace
}  // namespace crs::self
