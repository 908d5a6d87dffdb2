// Images that cannot be: an Error of kind Damaged, nothing else.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "descriptors/round_trip.h"

namespace crs::engine::testing {
namespace {

class Damaged : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = trip.folder / "file";
    std::ofstream(path) << "content";
    trip.capture([&] {
      std::array<int, 2> ends{};
      require(::open(path.c_str(), O_RDWR) == 0, "0: file");
      require(::memfd_create("m", 0) == 1 && ::write(1, "content", 7) == 7, "1: memfd");
      require(::pipe2(ends.data(), 0) == 0 && ::write(3, "data", 4) == 4, "2, 3: pipe");
      require(::epoll_create1(0) == 4 && ::eventfd(1, 0) == 5 && ::timerfd_create(CLOCK_MONOTONIC, 0) == 6, "4, 5, 6");
      epoll_event event{EPOLLIN, {}};
      require(::epoll_ctl(4, EPOLL_CTL_ADD, 5, &event) == 0, "watch");
      require(::open("/dev/null", O_RDWR) == 7, "7: device");
      struct flock range{};
      range.l_type = F_WRLCK;
      require(::fcntl(0, F_SETLK, &range) == 0, "lock");
    });
    trip.check();
    whole = trip.image;
  }

  // Whether check() takes the image after `change` for damaged.
  bool is_damaged(const std::function<void(image::Descriptors&)>& change) {
    trip.image = whole;
    change(trip.image);
    try {
      trip.check();
    } catch (const Error& error) {
      return error.kind() == ErrorKind::Damaged;
    }
    return false;
  }

  RoundTrip trip;
  image::Descriptors whole;
};

TEST_F(Damaged, Table) {
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptors(0)->set_number(-1); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptors(1)->set_number(0); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptors(7)->set_number(1 << 30); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptors(1)->set_description(8); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptors(1)->set_description(0); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(1)->clear_kind(); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(0)->set_signal(1000); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(0)->mutable_owner()->set_process(99); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_locks(0)->set_number(99); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_locks(0)->set_start(~std::uint64_t{0}); }));
}

TEST_F(Damaged, Files) {
  const auto file = [](image::Descriptors& image) {
    return image.mutable_descriptions(0)->mutable_regular_file()->mutable_file();
  };
  EXPECT_TRUE(is_damaged([&](auto& image) { file(image)->set_path("relative"); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { file(image)->set_path(std::string("/a\0b", 4)); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { file(image)->set_path("/" + std::string(5000, 'a')); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { file(image)->set_size(~std::uint64_t{0}); }));
  EXPECT_TRUE(is_damaged(
      [](auto& image) { image.mutable_descriptions(0)->mutable_regular_file()->set_position(~std::uint64_t{0}); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(7)->mutable_device()->set_number(0x0801); }));
}

TEST_F(Damaged, Content) {
  const auto object = [](image::Descriptors& image) { return image.mutable_objects(0); };
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(1)->mutable_content_file()->set_object(1); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_content("files/../process"); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_content(""); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_size(3); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_size(~std::uint64_t{0}); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->mutable_data(0)->set_bytes(6); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->mutable_data(0)->set_offset(~std::uint64_t{0}); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->clear_data(); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_name(std::string(300, 'n')); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_seals(0xffff); }));
  EXPECT_TRUE(is_damaged([&](auto& image) { object(image)->set_origin(image::ContentObject::UNKNOWN); }));
}

TEST_F(Damaged, PipesAndEvents) {
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(2)->mutable_pipe_end()->set_pipe(1); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_pipes(0)->set_capacity(0); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_pipes(0)->set_capacity(~std::uint64_t{0}); }));
  EXPECT_TRUE(
      is_damaged([](auto& image) { image.mutable_pipes(0)->mutable_pieces(0)->set_data(std::string(100000, 'x')); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_pipes(0)->add_pieces(); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_pipes(0)->set_path("fifo"); }));
  EXPECT_TRUE(is_damaged(
      [](auto& image) { image.mutable_descriptions(4)->mutable_epoll()->mutable_watches(0)->set_target_number(77); }));
  EXPECT_TRUE(is_damaged([](auto& image) {
    image.mutable_descriptions(4)->mutable_epoll()->mutable_watches(0)->set_registered_number(-5);
  }));
  EXPECT_TRUE(
      is_damaged([](auto& image) { image.mutable_descriptions(5)->mutable_eventfd()->set_count(~std::uint64_t{0}); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(6)->mutable_timerfd()->set_clock(99); }));
  EXPECT_TRUE(is_damaged(
      [](auto& image) { image.mutable_descriptions(6)->mutable_timerfd()->set_remaining(~std::uint64_t{0}); }));
  EXPECT_TRUE(is_damaged([](auto& image) { image.mutable_descriptions(6)->mutable_standard_stream()->set_stream(3); }));
}

// Whatever the bytes, the check either passes or throws an Error.
TEST_F(Damaged, AnyByte) {
  const std::string bytes = whole.SerializeAsString();
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string changed = bytes;
    changed[random() % changed.size()] = static_cast<char>(random());
    if (!trip.image.ParseFromString(changed)) continue;
    try {
      trip.check();
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace crs::engine::testing
