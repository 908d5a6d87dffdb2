// The seeds of the fuzz targets, and each of them with one byte changed or its end cut off. The targets end the process
// on a fault.
#include <filesystem>

#include "extent_index_target.h"
#include "manifest_target.h"
#include "payload_target.h"
#include "store_fixture.h"

namespace crs {
namespace {

// The number of inputs.
template <typename Exercise>
int replay(const std::string& name, const Exercise& exercise) {
  int inputs = 0;
  for (const auto& seed : std::filesystem::directory_iterator(std::string(CRS_FUZZ_SEEDS) + "/" + name)) {
    const std::string good = read_file(seed.path());
    exercise(good);
    for (std::size_t i = 0; i < good.size(); ++i) {
      exercise(std::string_view(good).substr(0, i));
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ change);
        exercise(bad);
        ++inputs;
      }
    }
  }
  return inputs;
}

TEST(FuzzReplay, Manifest) { EXPECT_GT(replay("manifest", exercise_manifest_reader), 100); }

TEST(FuzzReplay, ExtentIndex) { EXPECT_GT(replay("extent_index", exercise_extent_index_reader), 100); }

TEST(FuzzReplay, Payload) { EXPECT_GT(replay("payload", exercise_payload_reader), 100); }

TEST(FuzzReplay, SeedsAreSound) {
  const std::string manifest = read_file(std::string(CRS_FUZZ_SEEDS) + "/manifest/payload");
  EXPECT_EQ(decode_manifest(wrap_manifest_payload(manifest, kFormatVersion), "seed").files_size(), 3);
  const std::string index = read_file(std::string(CRS_FUZZ_SEEDS) + "/extent_index/body");
  EXPECT_EQ(decode_extent_index(frame_extent_index(std::string_view(index).substr(2)), 8192, "seed").size(), 2U);
}

}  // namespace
}  // namespace crs
