// What a program sets of its memory, without any trace of it in /proc/PID/maps, in the moment before it is captured.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <filesystem>
#include <stdexcept>

#include "base/io.h"
#include "engine/checkpoint.h"
#include "engine/image/process.pb.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/smaps.h"
#include "pages/child.h"

namespace crs::engine {
namespace {

using test::Child;

constexpr std::size_t kBytes = 16 * kPageSize;

void* area_to_set = nullptr;

RemoteAddress address_of_area() { return {reinterpret_cast<std::uint64_t>(area_to_set)}; }

// MADV_DONTFORK at the first signal, MADV_DOFORK at the second, and so on.
void change_setting(int /*signal*/) {
  static bool is_set = false;
  is_set = !is_set;
  if (::madvise(area_to_set, kBytes, is_set ? MADV_DONTFORK : MADV_DOFORK) != 0) ::abort();
}

bool has_setting(pid_t pid) {
  for (const MappedArea& area : read_smaps(pid)) {
    if (area.range.contains(address_of_area())) return area.has("dc");
  }
  throw std::runtime_error("the area is gone");
}

// Lets the program change the setting `times` times, each time that the checkpoint asks whether it is still wanted: the
// first is between its last look and the stop.
class ChangingSink : public SnapshotSink {
 public:
  ChangingSink(pid_t pid, int times) : pid_(pid), times_(times) {
    if (::mkdtemp(directory_.data()) == nullptr) throw std::runtime_error("no directory");
  }
  ~ChangingSink() override { std::filesystem::remove_all(directory_); }
  ChangingSink(const ChangingSink&) = delete;
  ChangingSink& operator=(const ChangingSink&) = delete;

  const std::string& location() const override { return directory_; }
  void check_wanted() const override {
    if (times_ == 0) return;
    --times_;
    const bool was_set = has_setting(pid_);
    ::kill(pid_, SIGUSR1);
    constexpr int kMostLooks = 10'000;
    for (int looks = 0; has_setting(pid_) == was_set; ++looks) {
      if (looks == kMostLooks) throw std::runtime_error("the program does not change its setting");
      ::poll(nullptr, 0, 1);
    }
  }
  void commit(const SnapshotContents& /*contents*/) override { ++commits_; }
  int commits() const { return commits_; }

 private:
  pid_t pid_;
  mutable int times_;
  int commits_ = 0;
  std::string directory_ = (std::filesystem::temp_directory_path() / "crs-settings-XXXXXX").string();
};

class ChangedSettingsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    area_to_set = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(area_to_set, MAP_FAILED);
    // Unlike its neighbours, with which it could be joined otherwise.
    ASSERT_EQ(::mprotect(area_to_set, kBytes, PROT_READ), 0);
    child_ = std::make_unique<Child>([] { return ::signal(SIGUSR1, change_setting) != SIG_ERR; });
  }
  void TearDown() override { ::munmap(area_to_set, kBytes); }

  // What the snapshot says, of a program that changes the setting so many times.
  bool setting_saved(int changes, AfterCheckpoint after = AfterCheckpoint::Continue) {
    ChangingSink sink(child_->pid(), changes);
    CheckpointOptions options;
    options.after = after;
    checkpoint(child_->pid(), sink, options);
    EXPECT_EQ(sink.commits(), 1);
    image::Tree tree;
    EXPECT_TRUE(tree.ParseFromString(read_file(sink.location() + "/process")));
    for (const image::Area& area : tree.processes(0).memory().areas()) {
      if (RemoteRange{{area.start()}, {area.end()}}.contains(address_of_area()))
        return has_property(area, image::Area::DONT_FORK);
    }
    throw std::runtime_error("the area is not in the snapshot");
  }

  std::unique_ptr<Child> child_;
};

TEST_F(ChangedSettingsTest, OfAProgramThatGoesOnIsAskedForAgain) {
  EXPECT_TRUE(setting_saved(1));
  EXPECT_TRUE(has_setting(child_->pid()));
}

TEST_F(ChangedSettingsTest, ChangedOnceMoreIsAskedForInTheStop) {
  EXPECT_FALSE(setting_saved(2));
  EXPECT_FALSE(has_setting(child_->pid()));
}

TEST_F(ChangedSettingsTest, OfAProgramThatIsKilledIsAskedForInTheStop) {
  EXPECT_TRUE(setting_saved(1, AfterCheckpoint::Kill));
}

TEST_F(ChangedSettingsTest, UnchangedIsWhatItWas) { EXPECT_FALSE(setting_saved(0)); }

}  // namespace
}  // namespace crs::engine
