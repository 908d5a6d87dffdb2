#include "store/manifest.h"

#include <gmock/gmock.h>

#include "store_fixture.h"

namespace crs {
namespace {

using ::testing::HasSubstr;

store::Manifest small_manifest() {
  store::Manifest manifest;
  manifest.set_format_version(kFormatVersion);
  manifest.mutable_component()->set_name("native");
  manifest.set_job("sim");
  manifest.set_sequence(3);
  manifest.set_parent_sequence(2);
  manifest.set_host("some\xffhost");
  store::FileRecord& index = *manifest.add_files();
  index.set_name("pages.index");
  index.set_size(10);
  index.set_checksum(std::string(16, 'x'));
  store::FileRecord& pages = *manifest.add_files();
  pages.set_name("pages");
  pages.set_size(4096);
  pages.set_verified_by("pages.index");
  manifest.set_stored_bytes(4106);
  return manifest;
}

// The text of the Error with which the reader refuses `manifest` below a right checksum.
std::string refusal_of(const store::Manifest& manifest) {
  const std::string bytes = wrap_manifest_payload(manifest.SerializeAsString(), manifest.format_version());
  return text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "/store/sim/3/manifest"); });
}

TEST(Manifest, ComesBackAsItWas) {
  const store::Manifest manifest = small_manifest();
  const store::Manifest again = decode_manifest(encode_manifest(manifest), "m");
  EXPECT_EQ(again.SerializeAsString(), manifest.SerializeAsString());
}

TEST(Manifest, HasTheDescribedEnvelope) {
  const std::string bytes = encode_manifest(small_manifest());
  EXPECT_EQ(bytes.substr(0, 8),
            "\x89"
            "CRSM\r\n\x1a");
  EXPECT_EQ(bytes.substr(8, 4), std::string("\x01\0\0\0", 4));
  EXPECT_EQ(static_cast<unsigned char>(bytes[12]) + 256U * static_cast<unsigned char>(bytes[13]), bytes.size() - 36);
  EXPECT_EQ(bytes.substr(36), small_manifest().SerializeAsString());
}

TEST(Manifest, EveryFlippedBitIsDetected) {
  const std::string good = encode_manifest(small_manifest());
  for (std::size_t i = 0; i < good.size() * 8; ++i) {
    std::string bytes = good;
    bytes[i / 8] = static_cast<char>(bytes[i / 8] ^ (1 << (i % 8)));
    EXPECT_THAT(text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "/store/sim/3/manifest"); }),
                HasSubstr("/store/sim/3/manifest"))
        << "bit " << i;
  }
}

TEST(Manifest, EveryTruncationIsDetected) {
  const std::string good = encode_manifest(small_manifest());
  for (std::size_t length = 0; length < good.size(); ++length) {
    text_of_error(ErrorKind::Damaged, [&] { decode_manifest(std::string_view(good).substr(0, length), "m"); });
  }
}

TEST(Manifest, TrailingBytesAreDetected) {
  const std::string bytes = encode_manifest(small_manifest()) + '\0';
  EXPECT_THAT(text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "m"); }),
              HasSubstr("1 bytes follow its end"));
}

TEST(Manifest, NewerVersionNamesBothAndAdvisesToUpdate) {
  store::Manifest manifest = small_manifest();
  manifest.set_format_version(kFormatVersion + 6);
  const std::string text = refusal_of(manifest);
  EXPECT_THAT(text, HasSubstr("format version 7"));
  EXPECT_THAT(text, HasSubstr("up to 1"));
  EXPECT_THAT(text, HasSubstr("made by a newer CRS: update"));
}

TEST(Manifest, FlippedVersionIsDamageAndNotANewerVersion) {
  std::string bytes = encode_manifest(small_manifest());
  bytes[8] = 9;
  EXPECT_THAT(text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "m"); }),
              HasSubstr("checksum does not match"));
}

TEST(Manifest, VersionZeroIsRefused) {
  store::Manifest manifest = small_manifest();
  manifest.set_format_version(0);
  EXPECT_THAT(refusal_of(manifest), HasSubstr("format version is 0"));
}

TEST(Manifest, ForgedLengthsAreRefused) {
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 31, std::uint64_t{1} << 32,
                                     std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    std::string bytes = encode_manifest(small_manifest());
    for (std::size_t i = 0; i < 8; ++i)
      bytes[12 + i] = static_cast<char>(static_cast<unsigned char>(length >> (8 * i)));
    text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "m"); });
  }
}

TEST(Manifest, PayloadThatIsNoMessageIsRefused) {
  const std::string bytes = wrap_manifest_payload("\xff\xff\xff\xff", kFormatVersion);
  EXPECT_THAT(text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "m"); }), HasSubstr("cannot be parsed"));
}

TEST(Manifest, VersionsOfEnvelopeAndPayloadMustAgree) {
  store::Manifest manifest = small_manifest();
  manifest.set_format_version(5);
  const std::string bytes = wrap_manifest_payload(manifest.SerializeAsString(), kFormatVersion);
  EXPECT_THAT(text_of_error(ErrorKind::Damaged, [&] { decode_manifest(bytes, "m"); }),
              HasSubstr("two format versions"));
}

TEST(Manifest, FileNamesThatLeadElsewhereAreRefused) {
  for (const std::string& name :
       {std::string(""), std::string("/etc/passwd"), std::string("../x"), std::string("a/../x"), std::string("a//b"),
        std::string("a/"), std::string("."), std::string("./a"), std::string("a\0b", 3), std::string(4096, 'n'),
        std::string("manifest")}) {
    store::Manifest manifest = small_manifest();
    manifest.mutable_files(0)->set_name(name);
    manifest.mutable_files(1)->set_verified_by(name);
    EXPECT_THAT(refusal_of(manifest), HasSubstr("impossible name")) << name;
  }
}

TEST(Manifest, FileListedTwiceIsRefused) {
  store::Manifest manifest = small_manifest();
  *manifest.add_files() = manifest.files(0);
  EXPECT_THAT(refusal_of(manifest), HasSubstr("twice"));
}

TEST(Manifest, FileWithoutChecksumIsRefused) {
  store::Manifest manifest = small_manifest();
  manifest.mutable_files(0)->set_checksum("short");
  EXPECT_THAT(refusal_of(manifest), HasSubstr("no checksum of the file pages.index"));
}

TEST(Manifest, FileVerifiedByNothingIsRefused) {
  for (const std::string name : {"gone", "pages"}) {
    store::Manifest manifest = small_manifest();
    manifest.mutable_files(1)->set_verified_by(name);
    EXPECT_THAT(refusal_of(manifest), HasSubstr("how the file pages is verified")) << name;
  }
}

TEST(Manifest, SizesThatOverflowAreRefused) {
  store::Manifest manifest = small_manifest();
  manifest.mutable_files(0)->set_size(~std::uint64_t{0} - 4095);
  manifest.set_stored_bytes(0);
  EXPECT_THAT(refusal_of(manifest), HasSubstr("sizes of its files are impossible"));
}

TEST(Manifest, SumOfSizesMustAgree) {
  store::Manifest manifest = small_manifest();
  manifest.set_stored_bytes(1);
  EXPECT_THAT(refusal_of(manifest), HasSubstr("add up"));
  manifest = small_manifest();
  manifest.set_shared_bytes(manifest.stored_bytes() + 1);
  EXPECT_THAT(refusal_of(manifest), HasSubstr("it shares"));
}

TEST(Manifest, IdentityIsRequired) {
  store::Manifest manifest = small_manifest();
  manifest.set_job("../x");
  EXPECT_THAT(refusal_of(manifest), HasSubstr("names no job"));
  manifest = small_manifest();
  manifest.set_sequence(0);
  manifest.clear_parent_sequence();
  EXPECT_THAT(refusal_of(manifest), HasSubstr("no sequence number"));
  manifest = small_manifest();
  manifest.set_parent_sequence(3);
  EXPECT_THAT(refusal_of(manifest), HasSubstr("parent 3 is not older"));
  manifest = small_manifest();
  manifest.clear_component();
  EXPECT_THAT(refusal_of(manifest), HasSubstr("names no component"));
}

TEST(Manifest, WriterRefusesWhatTheReaderWould) {
  store::Manifest manifest = small_manifest();
  manifest.set_job("");
  EXPECT_THAT(text_of_error(ErrorKind::Failed, [&] { encode_manifest(manifest); }), HasSubstr("names no job"));
}

}  // namespace
}  // namespace crs
