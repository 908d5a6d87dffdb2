// Whatever the image of a process says, `crs restart` finds out before it starts anything: each input takes the place
// of the image in a sound snapshot of a small program, and goes through everything that a restart checks.
//
// The snapshot is made when the fuzzer begins, so it always has the present format.
#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>

#include "base/error.h"
#include "base/io.h"
#include "engine/checkpoint.h"
#include "engine/image/process.pb.h"
#include "engine/restart.h"
#include "tools/mutate.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace {

using namespace crs;

class Directory : public SnapshotSink {
 public:
  Directory() : path_(std::filesystem::temp_directory_path() / "crs-fuzz-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~Directory() override { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::string& location() const override { return path_; }
  void commit(const SnapshotContents& /*contents*/) override {}
  std::string image_path() const { return path_ + "/process"; }

 private:
  std::string path_;
};

// /bin/sleep, as a stranger to this process and its sanitizers.
class Sleeper {
 public:
  Sleeper() {
    std::string name = "sleep";
    std::string time = "1000";
    char* arguments[] = {name.data(), time.data(), nullptr};
    char* environment[] = {nullptr};
    posix_spawn_file_actions_t streams;
    ::posix_spawn_file_actions_init(&streams);
    for (int number = 0; number < 3; ++number)
      ::posix_spawn_file_actions_addopen(&streams, number, "/dev/null", O_RDWR, 0);
    ::posix_spawn_file_actions_addclosefrom_np(&streams, 3);
    if (::posix_spawn(&pid_, "/bin/sleep", &streams, nullptr, arguments, environment) != 0) std::abort();
    ::posix_spawn_file_actions_destroy(&streams);
  }
  ~Sleeper() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

class World {
 public:
  World() {
    google::protobuf::SetLogHandler(nullptr);  // of texts that are no UTF-8
    const Sleeper sleeper;
    engine::checkpoint(sleeper.pid(), directory_, {});
    sound_image_ = read_file(directory_.image_path());
    if (!accepts(sound_image_)) std::abort();  // nothing would be tested
  }

  // Whether a restart would begin. Any Error is an answer, anything else is a fault.
  bool accepts(std::string_view image) const {
    const FileDescriptor file = open_file(directory_.image_path(), O_WRONLY | O_TRUNC);
    write_all(file.get(), directory_.image_path(), as_byte_span(image));
    RestartOptions options;
    options.ids = Ids::New;
    options.check_only = true;
    try {
      engine::restart({.component = "native", .reference = "fuzz@1", .location = directory_.location()}, options);
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  const std::string& sound_image() const noexcept { return sound_image_; }

 private:
  Directory directory_;
  std::string sound_image_;
};

const World& world() {
  static const World the_world;
  return the_world;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  world().accepts({reinterpret_cast<const char*>(data), size});
  return 0;
}

// Mostly changes of fields, from the sound image or from what the fuzzer already has; else of bytes.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  std::mt19937_64 random(seed);
  test::MutableMessage image("crs.image.Process");
  const bool from_start = size < 2 || random() % 4 == 0;
  const bool parsed =
      image.parse(from_start ? world().sound_image() : std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed || random() % 16 == 0) return LLVMFuzzerMutate(data, size, most);
  for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes) image.mutate(random);
  const std::string bytes = image.bytes();
  if (bytes.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}
