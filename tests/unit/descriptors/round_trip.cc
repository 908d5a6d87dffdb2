#include "descriptors/round_trip.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine::testing {
namespace {

constexpr int kFirstPrivate = 200;

// Executes the "remote" calls in this process: the restored child activates itself.
class OwnCaller : public RemoteCaller {
 public:
  OwnCaller() : memory_(::getpid()) {}
  pid_t tid() const override { return ::getpid(); }
  std::int64_t raw_call(long number, const std::array<std::uint64_t, 6>& a) override {
    const long result = ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return result < 0 ? -errno : result;
  }
  RemoteAddress scratch() const override { return {reinterpret_cast<std::uint64_t>(scratch_.data())}; }
  const RemoteMemory& memory() const override { return memory_; }

 private:
  RemoteMemory memory_;
  alignas(64) mutable std::array<std::byte, kScratchSize> scratch_{};
};

// For captures, which need no remote call.
class NoCaller : public RemoteCaller {
 public:
  explicit NoCaller(const RemoteMemory& memory) : memory_(memory) {}
  pid_t tid() const override { return memory_.pid(); }
  std::int64_t raw_call(long /*number*/, const std::array<std::uint64_t, 6>& /*arguments*/) override {
    fail(ErrorKind::Failed, "a capture of descriptors called into the process");
  }
  RemoteAddress scratch() const override { return {}; }
  const RemoteMemory& memory() const override { return memory_; }

 private:
  const RemoteMemory& memory_;
};

class Child {
 public:
  explicit Child(const std::function<void()>& run) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::alarm(60);
    run();
    ::_exit(0);
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

// What a child has to say, in memory that both share: no descriptor is needed for it.
class Report {
 public:
  Report()
      : text_(static_cast<char*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~Report() { ::munmap(text_, kSize); }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  void set(const char* text) { std::strncpy(text_, text, kSize - 1); }
  std::string text() const { return text_; }

 private:
  static constexpr std::size_t kSize = 65536;
  char* text_;
};

std::vector<std::string>* notes_of_child = nullptr;

}  // namespace

const std::vector<std::string>& child_notes() { return *notes_of_child; }

void require(bool condition, const std::string& text) {
  if (!condition) throw Error(ErrorKind::Failed, fmt::format("{} (errno {})", text, std::strerror(errno)));
}

TestFolder::TestFolder() : path_(::testing::TempDir() + "/crs-descriptors-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) fail_errno(errno, "cannot make {}", path_);
  path_ = std::filesystem::canonical(path_);
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

RoundTrip::RoundTrip() : snapshot_(folder / "snapshot") {
  std::filesystem::create_directory(snapshot_);
  options.set_aside_directory = folder / "aside";
  std::filesystem::create_directory(options.set_aside_directory);
}

void RoundTrip::capture(const std::function<void()>& set_up) {
  Report report;
  const Child child([&] {
    ::close_range(0, ~0U, 0);
    try {
      set_up();
    } catch (const std::exception& error) {
      report.set(error.what());
      ::_exit(1);
    }
    ::raise(SIGSTOP);
  });
  int status = 0;
  ::waitpid(child.pid(), &status, WUNTRACED);
  if (!WIFSTOPPED(status)) fail(ErrorKind::Failed, "the set-up failed: {}", report.text());

  image.Clear();
  const FileDescriptor pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid(), 0)));
  const RemoteMemory memory(child.pid());
  NoCaller caller(memory);
  const std::vector<pid_t> threads{child.pid()};
  Refusals refusals;
  std::filesystem::remove_all(snapshot_ + "/files");
  ContentStore content(snapshot_);
  const LeaveOut exceptions(leave_out);
  ContentObjects objects(content, image);
  CaptureContext context{child.pid(), child.pid(), pidfd.get(), caller,     memory,  threads,
                         refusals,    warnings,    content,     exceptions, objects, wishes};
  const std::vector<CapturedProcess> tree{
      {.pid = child.pid(), .own_pid = child.pid(), .pidfd = pidfd.get(), .threads = threads}};
  capture_descriptors(context, tree, image);
  refusals.throw_if_any();
  // As a snapshot does.
  image::Descriptors read_back;
  if (!read_back.ParseFromString(image.SerializeAsString())) fail(ErrorKind::Failed, "the image cannot be read back");
  image = read_back;
}

void RoundTrip::check() {
  const ContentStore content(snapshot_);
  CheckContext context{options, content, notes};
  check_descriptors(context, image);
}

void RoundTrip::run_restored(const std::function<void()>& look) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  const ContentStore content(snapshot_);
  std::vector<std::string> made_notes;
  notes_of_child = &made_notes;
  NewbornContext newborn{options, content, made_notes, standard_streams, kFirstPrivate};
  OpenedDescriptions(newborn, image).complete();
  place_descriptors_inside(newborn, image);
  {
    OwnCaller caller;
    RestoreContext context{.pid = ::getpid(),
                           .remote = caller,
                           .memory = caller.memory(),
                           .options = options,
                           .content = content,
                           .notes = made_notes,
                           .first_private_descriptor = kFirstPrivate,
                           .reserved = {},
                           .threads = {},
                           .new_ids = {}};
    RestoreContext* const processes[] = {&context};
    activate_descriptors(processes, image);
  }
  if (commit) commit_set_aside(options, image, made_notes);
  look();
}

std::string RoundTrip::restore(const std::function<void()>& look, const std::function<void()>& before) {
  Report report;
  const Child child([&] {
    try {
      if (before) before();
      run_restored(look);
    } catch (const std::exception& error) {
      report.set(error.what());
      ::_exit(1);
    }
  });
  int status = 0;
  if (::waitpid(child.pid(), &status, 0) < 0) return "lost the child";
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return WIFEXITED(status) ? report.text() : fmt::format("killed by signal {}", WTERMSIG(status));
}

void RoundTrip::carry(const std::function<void()>& set_up, const std::function<void()>& look) {
  try {
    capture(set_up);
    check();
  } catch (const Error& error) {
    FAIL() << error.what();
  }
  EXPECT_EQ(restore(look), "");
}

}  // namespace crs::engine::testing
