#include "store/extents/extent_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "store/extents/extent_index.pb.h"

namespace crs {
namespace {

using ::testing::HasSubstr;

class ExtentFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-extents-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string data_path() const { return directory_ + "/pages"; }
  std::string index_path() const { return directory_ + "/pages.index"; }

  static void overwrite(const std::string& path, const std::string& content) {
    const FileDescriptor file = open_file(path, O_WRONLY | O_TRUNC);
    write_all(file.get(), path, as_byte_span(content));
  }

  static void put_byte(const std::string& path, std::size_t offset, char byte) {
    const FileDescriptor file = open_file(path, O_WRONLY);
    pwrite_all(file.get(), path, as_byte_span(std::string_view(&byte, 1)), offset);
  }

  // The words of the Damaged error that reading everything leads to; empty if there is none.
  std::string damage() const {
    try {
      verify_extents(directory_, "pages");
      const ExtentReader reader(directory_, "pages");
      for (std::size_t i = 0; i < reader.extents().size(); ++i) {
        std::vector<std::byte> payload(reader.extents()[i].payload_bytes);
        reader.read(i, payload);
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Damaged) << error.what();
      return error.what();
    }
    return "";
  }

  // Expects that changing any one byte of `path`, and cutting or extending it anywhere, is found.
  void expect_every_change_is_found(const std::string& path) {
    const std::string good = read_file(path);
    for (std::size_t i = 0; i < good.size(); ++i) {
      put_byte(path, i, static_cast<char>(good[i] ^ (1 << (i % 8))));
      ASSERT_NE(damage(), "") << "byte " << i << " of " << path;
      put_byte(path, i, good[i]);
    }
    for (std::size_t size = 0; size < good.size(); size += size < 300 ? 1 : 509) {
      overwrite(path, good.substr(0, size));
      ASSERT_NE(damage(), "") << path << " cut to " << size;
    }
    overwrite(path, good + '\0');
    EXPECT_NE(damage(), "");
    overwrite(path, good + std::string(4096, '\0'));
    EXPECT_NE(damage(), "");
    overwrite(path, good);
    EXPECT_EQ(damage(), "");
  }

  void write_two_extents(Compression compression) const {
    ExtentWriter writer(directory_, "pages", {.compression = compression});
    writer.append(as_byte_span(std::string(5000, 'a')), "first");
    std::string noise(4096, '\0');
    std::mt19937 random(1);
    std::ranges::generate(noise, [&] { return static_cast<char>(random()); });
    writer.append(as_byte_span(noise), "second");
    writer.finish();
  }

  std::string directory_;
};

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

TEST_F(ExtentFileTest, GivesBackWhatSeveralThreadsAppended) {
  for (const Compression compression : {Compression::None, Compression::Zstd, Compression::Automatic}) {
    std::vector<std::vector<std::byte>> payloads;
    for (unsigned i = 0; i < 40; ++i)
      payloads.push_back(i % 2 ? random_bytes(1 + i * 1000, i) : std::vector<std::byte>(1 + i * 999, std::byte{7}));
    ExtentWriter writer(directory_, "pages", {.compression = compression});
    {
      std::vector<std::jthread> threads;
      for (std::size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
          for (std::size_t i = t; i < payloads.size(); i += 4) writer.append(payloads[i], std::to_string(i));
        });
      }
    }
    writer.finish();
    const ExtentReader reader(directory_, "pages");
    ASSERT_EQ(reader.extents().size(), payloads.size());
    EXPECT_EQ(reader.payload_bytes(), writer.payload_bytes());
    std::vector<bool> seen(payloads.size());
    for (std::size_t i = 0; i < reader.extents().size(); ++i) {
      const std::size_t number = std::stoul(reader.extents()[i].tag);
      std::vector<std::byte> payload(reader.extents()[i].payload_bytes);
      reader.read(i, payload);
      EXPECT_EQ(payload, payloads[number]);
      seen[number] = true;
    }
    EXPECT_EQ(std::ranges::count(seen, true), 40);
    EXPECT_EQ(damage(), "");
    std::filesystem::remove(data_path());
    std::filesystem::remove(index_path());
  }
}

TEST_F(ExtentFileTest, CompressesWhatSavesAPageAndOnlyThat) {
  write_two_extents(Compression::Zstd);
  const ExtentReader reader(directory_, "pages");
  EXPECT_EQ(reader.extents()[0].encoding, ExtentEncoding::Zstd);
  EXPECT_EQ(reader.extents()[1].encoding, ExtentEncoding::Raw);
  EXPECT_EQ(std::filesystem::file_size(data_path()), 8192U);
}

TEST_F(ExtentFileTest, HoldsNothingAtAll) {
  ExtentWriter writer(directory_, "pages");
  writer.finish();
  EXPECT_TRUE(ExtentReader(directory_, "pages").extents().empty());
  EXPECT_EQ(damage(), "");
}

TEST_F(ExtentFileTest, FindsEveryChangedByteOfTheIndex) {
  write_two_extents(Compression::Zstd);
  expect_every_change_is_found(index_path());
}

TEST_F(ExtentFileTest, FindsEveryChangedByteOfTheData) {
  write_two_extents(Compression::Zstd);
  expect_every_change_is_found(data_path());
}

TEST_F(ExtentFileTest, FindsEveryChangedByteOfRawData) {
  write_two_extents(Compression::None);
  expect_every_change_is_found(data_path());
}

TEST_F(ExtentFileTest, NamesFileAndOffsetOfTheDamage) {
  write_two_extents(Compression::None);
  std::string data = read_file(data_path());
  data[8192 + 17] ^= 1;
  overwrite(data_path(), data);
  EXPECT_THAT(damage(), HasSubstr(data_path()));
  EXPECT_THAT(damage(), HasSubstr("4096 bytes at 8192"));
}

TEST_F(ExtentFileTest, SaysWhichFileIsMissing) {
  write_two_extents(Compression::None);
  std::filesystem::remove(data_path());
  EXPECT_THAT(damage(), HasSubstr("pages is missing"));
  std::filesystem::create_symlink("/dev/zero", data_path());
  EXPECT_THAT(damage(), HasSubstr("symbolic link"));
}

TEST_F(ExtentFileTest, ReportsAFailedAppendAgainAtTheEnd) {
  ExtentWriter writer(directory_, "pages");
  EXPECT_THROW(writer.append({}, ""), Error);
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_FALSE(std::filesystem::exists(index_path()));
}

// An index whose checksums are right but whose content lies.
class ForgedIndexTest : public ExtentFileTest {
 protected:
  void SetUp() override {
    ExtentFileTest::SetUp();
    write_two_extents(Compression::Zstd);
    const std::string good = read_file(index_path());
    ASSERT_TRUE(index_.ParseFromString(good.substr(40)));
    ASSERT_EQ(good, frame_extent_index(good.substr(40)));
  }
  std::string damage_of_forged() {
    overwrite(index_path(), frame_extent_index(index_.SerializeAsString()));
    return damage();
  }
  store::ExtentIndex index_;
};

TEST_F(ForgedIndexTest, GapsAndOverlaps) {
  index_.mutable_extents(1)->set_offset(8192);
  EXPECT_THAT(damage_of_forged(), HasSubstr("begins at 8192 instead of 4096"));
  index_.mutable_extents(1)->set_offset(0);
  EXPECT_THAT(damage_of_forged(), HasSubstr("begins at 0 instead of 4096"));
}

TEST_F(ForgedIndexTest, MissingAndRepeatedExtents) {
  index_.mutable_extents()->RemoveLast();
  EXPECT_THAT(damage_of_forged(), HasSubstr("make up 4096 bytes"));
  index_.mutable_extents()->Clear();
  EXPECT_THAT(damage_of_forged(), HasSubstr("make up 0 bytes"));
}

TEST_F(ForgedIndexTest, LengthsBeyondTheFileAndBeyondAllBounds) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{5000}, std::uint64_t{1} << 24,
                                   std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{0} - 4094}) {
    index_.mutable_extents(1)->set_stored_bytes(size);
    index_.mutable_extents(1)->set_payload_bytes(size);
    EXPECT_NE(damage_of_forged(), "") << size;
  }
}

TEST_F(ForgedIndexTest, PayloadThatTheFrameDoesNotHave) {
  for (const std::uint64_t size : {4999, 5001, 4096, 1 << 20}) {
    index_.mutable_extents(0)->set_payload_bytes(size);
    EXPECT_THAT(damage_of_forged(), HasSubstr("no whole zstd frame")) << size;
  }
  index_.mutable_extents(0)->set_payload_bytes(index_.extents(0).stored_bytes());
  EXPECT_THAT(damage_of_forged(), HasSubstr("stored bytes"));
}

TEST_F(ForgedIndexTest, UnknownEncodingSourceAndChecksum) {
  store::ExtentRecord& record = *index_.mutable_extents(0);
  record.set_encoding(static_cast<store::ExtentRecord::Encoding>(9));
  EXPECT_THAT(damage_of_forged(), HasSubstr("unknown encoding"));
  record.set_encoding(store::ExtentRecord::ZSTD);
  record.set_source(1);
  EXPECT_THAT(damage_of_forged(), HasSubstr("belongs before"));
  record.set_source(0);
  record.set_checksum("short");
  EXPECT_THAT(damage_of_forged(), HasSubstr("checksum"));
}

// Three snapshots of one job in a row: the second uses the first extent of the first, the third that and one of the
// second.
class ChainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-chain-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    for (const char* name : {"1", "2", "3"}) std::filesystem::create_directory(root_ + "/" + name);
    ExtentWriter first(at(1), "pages");
    first.append(as_byte_span(kept_), "kept");
    first.append(as_byte_span(std::string(4096, 'b')), "changed");
    first.finish();
    ExtentWriter second(at(2), "pages");
    second.append(as_byte_span(newer_), "newer");
    second.refer(ExtentReader(at(1), "pages"), 1, 0, "kept in 2");
    second.finish();
    ExtentWriter third(at(3), "pages");
    const ExtentReader earlier(at(2), "pages");
    for (std::size_t i = 0; i < 2; ++i) third.refer(earlier, 2, i, earlier.extents()[i].tag + ", still");
    third.finish();
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string at(int sequence) const { return fmt::format("{}/{}", root_, sequence); }
  // What the Damaged error says that reading snapshot `sequence` leads to; empty if there is none.
  std::string damage(int sequence) const {
    try {
      verify_extents(at(sequence), "pages");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Damaged) << error.what();
      return error.what();
    }
    return "";
  }
  static std::string text(const ExtentReader& reader, std::size_t number) {
    std::string payload(reader.extents().at(number).payload_bytes, '\0');
    reader.read(number, std::as_writable_bytes(std::span(payload)));
    return payload;
  }
  static void flip(const std::string& path, std::size_t offset) {
    std::string bytes = read_file(path);
    bytes.at(offset) = static_cast<char>(bytes[offset] ^ 1);
    const FileDescriptor file = open_file(path, O_WRONLY);
    write_all(file.get(), path, as_byte_span(bytes));
  }

  std::string root_;
  std::string kept_ = std::string(8192, 'a');
  std::string newer_ = std::string(4096, 'c');
};

TEST_F(ChainTest, EveryLinkHasAllThatItNeeds) {
  for (const int gone : {1, 2}) std::filesystem::remove_all(at(gone));
  EXPECT_EQ(damage(3), "");
  const ExtentReader third(at(3), "pages");
  ASSERT_EQ(third.extents().size(), 2U);
  EXPECT_EQ(third.extents()[0].source, 1U);
  EXPECT_EQ(third.extents()[0].tag, "kept in 2, still");
  EXPECT_EQ(text(third, 0), kept_);
  EXPECT_EQ(third.extents()[1].source, 2U);
  EXPECT_EQ(text(third, 1), newer_);
  EXPECT_EQ(std::filesystem::file_size(at(3) + "/pages"), 0U);
}

TEST_F(ChainTest, StoresNothingTwice) {
  struct stat status{};
  ASSERT_EQ(::stat((at(1) + "/pages").c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 3U);
}

TEST_F(ChainTest, DamageOfALinkIsNamedInEverySnapshotThatUsesIt) {
  flip(at(1) + "/pages", 5000);
  for (const int sequence : {2, 3}) EXPECT_THAT(damage(sequence), HasSubstr(at(sequence) + "/pages@1")) << sequence;
  EXPECT_THAT(damage(1), HasSubstr(at(1) + "/pages fails"));
}

TEST_F(ChainTest, WhatALaterSnapshotDoesNotUseIsNotItsDamage) {
  flip(at(1) + "/pages", 8192);
  EXPECT_NE(damage(1), "");
  EXPECT_EQ(damage(2), "");
}

TEST_F(ChainTest, AMissingOrShorterLinkIsNamed) {
  std::filesystem::resize_file(at(1) + "/pages", 4096);
  EXPECT_THAT(damage(3), HasSubstr("pages@1 has 4096 bytes, too few"));
  std::filesystem::remove(at(3) + "/pages@1");
  EXPECT_THAT(damage(3), HasSubstr("pages@1 is missing"));
}

TEST_F(ChainTest, ForgedPlacesAreRefused) {
  store::ExtentIndex index;
  ASSERT_TRUE(index.ParseFromString(read_file(at(3) + "/pages.index").substr(40)));
  const auto damage_of = [&](auto&& change) {
    store::ExtentIndex forged = index;
    change(forged);
    const std::string path = at(3) + "/pages.index";
    const FileDescriptor file = open_file(path, O_WRONLY | O_TRUNC);
    write_all(file.get(), path, as_byte_span(frame_extent_index(forged.SerializeAsString())));
    return damage(3);
  };
  EXPECT_THAT(damage_of([](auto& forged) { forged.mutable_extents(1)->set_source(1); }), HasSubstr("cannot be"));
  EXPECT_THAT(damage_of([](auto& forged) { forged.mutable_extents(0)->set_offset(1); }), HasSubstr("cannot be"));
  EXPECT_THAT(damage_of([](auto& forged) { forged.mutable_extents(0)->set_offset(~std::uint64_t{4095}); }),
              HasSubstr("cannot be"));
  EXPECT_THAT(damage_of([](auto& forged) { forged.mutable_extents(0)->set_offset(4096 * 1000); }),
              HasSubstr("too few"));
  EXPECT_THAT(damage_of([](auto& forged) { forged.mutable_extents()->SwapElements(0, 1); }),
              HasSubstr("belongs before"));
  EXPECT_THAT(damage_of([](auto& forged) { forged.mutable_extents(1)->set_source(9); }),
              HasSubstr("pages@9 is missing"));
}

TEST(EarlierData, IsKnownByItsName) {
  EXPECT_EQ(base_of_earlier_data("pages@3"), "pages");
  for (const char* other : {"pages", "pages@", "pages@0", "pages@03", "pages@3x", "pages@-1", "@"})
    EXPECT_EQ(base_of_earlier_data(other), std::nullopt) << other;
}

}  // namespace
}  // namespace crs
