#include "engine/tracking/tracking_keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/clock_offsets.h"
#include "base/error.h"
#include "base/io.h"
#include "base/no_process.h"
#include "engine/procfs/text.h"
#include "engine/procfs/tree.h"
#include "engine/resources/threads/remembered_waits.h"
#include "engine/tracking/tracking.pb.h"

namespace crs::engine {
namespace {

// Where its descriptors begin: behind a channel to whoever started it.
constexpr int kChannel = 0;
constexpr int kFirstDescriptor = 1;

// 0: there is no such process.
std::uint64_t start_time(pid_t pid) {
  constexpr int kStartTime = 22;
  try {
    return start_time_for_all(std::strtoull(stat_field(fmt::format("/proc/{}", pid), kStartTime).c_str(), nullptr, 10));
  } catch (const Error& error) {
    if (error.error_number() != ENOENT && error.error_number() != ESRCH) throw;
    return 0;
  }
}

std::string boot_id() { return read_file("/proc/sys/kernel/random/boot_id"); }

FileDescriptor open_process(pid_t pid) {
  FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) fail_errno(errno, "pidfd_open of process {}", pid);
  return process;
}

// Until every process has ended.
void wait_for_all(const std::vector<int>& processes) {
  for (const int process : processes) {
    pollfd wanted{process, POLLIN, 0};
    while (::poll(&wanted, 1, -1) < 0 && errno == EINTR) {
    }
  }
}

// Moves `descriptors` to kFirstDescriptor and up, and closes everything else but the channel. `channel` and all of them
// are moved out of the way first.
std::vector<int> arrange(int channel, std::vector<int> descriptors) {
  const int lowest = kFirstDescriptor + static_cast<int>(descriptors.size());
  channel = ::fcntl(channel, F_DUPFD_CLOEXEC, lowest);
  for (int& descriptor : descriptors) descriptor = ::fcntl(descriptor, F_DUPFD_CLOEXEC, lowest);
  if (::dup2(channel, kChannel) < 0) ::_exit(1);
  int next = kFirstDescriptor;
  for (int& descriptor : descriptors) {
    if (::dup2(descriptor, next) < 0) ::_exit(1);
    descriptor = next++;
  }
  ::close_range(static_cast<unsigned>(next), ~0U, 0);
  return descriptors;
}

// The keeper: of `descriptors` the second half are pidfds.
[[noreturn]] void live(int channel, const std::vector<int>& descriptors) {
  ::setsid();
  static_cast<void>(!::chdir("/"));
  ::prctl(PR_SET_NAME, kKeeperName);
  // Yama's level 1: whoever makes the next checkpoint is no ancestor.
  ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  sigset_t none;
  ::sigemptyset(&none);
  ::signal(SIGHUP, SIG_IGN);
  const std::vector<int> arranged = arrange(channel, descriptors);
  const pid_t self = ::getpid();
  static_cast<void>(!::write(kChannel, &self, sizeof self));
  // Whoever ends before it has noted who holds the tracking leaves nobody who does.
  char go_on = 0;
  ssize_t got = 0;
  while ((got = ::read(kChannel, &go_on, 1)) < 0 && errno == EINTR) {
  }
  if (got != 1) ::_exit(0);
  ::close(kChannel);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  wait_for_all({arranged.begin() + static_cast<std::ptrdiff_t>(arranged.size() / 2), arranged.end()});
  ::_exit(0);
}

struct Keeper {
  pid_t pid = 0;
  FileDescriptor channel;  // it ends if this is closed before a byte was sent
};

// Starts the keeper as nobody's child: its own parent ends at once.
Keeper start_keeper(const std::vector<int>& descriptors) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_errno(errno, "making a socket pair");
  FileDescriptor mine(ends[0]);
  FileDescriptor theirs(ends[1]);
  const pid_t between = ::fork();
  constexpr std::string_view kProblem = "cannot make a process that keeps track of what the program writes";
  if (between < 0) throw no_process(kProblem, errno);
  if (between == 0) {
    if (const pid_t keeper = ::fork(); keeper != 0) ::_exit(keeper > 0 ? 0 : errno);
    live(theirs.get(), descriptors);
  }
  theirs.reset();
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) throw no_process(kProblem, WEXITSTATUS(status));
  Keeper keeper{.channel = std::move(mine)};
  if (::read(keeper.channel.get(), &keeper.pid, sizeof keeper.pid) != sizeof keeper.pid)
    fail(ErrorKind::Failed, "the process that keeps track of what the program writes did not start");
  return keeper;
}

void write_file(const std::string& path, const TrackingFile& content) {
  const std::string fresh = path + ".new";
  const FileDescriptor file = open_file(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  write_all(file.get(), fresh, as_byte_span(content.SerializeAsString()));
  // Not synced: it means nothing after a crash of the machine.
  if (::rename(fresh.c_str(), path.c_str()) != 0) fail_errno(errno, "cannot rename {}", fresh);
}

TrackingFile::Process describe(const TrackedProcess& process, int descriptor) {
  TrackingFile::Process entry;
  entry.set_pid(process.pid);
  entry.set_start_time(start_time(process.pid));
  entry.set_number(descriptor);
  entry.set_index(process.index);
  for (const RemoteRange& area : process.areas) {
    entry.add_areas(area.start.value);
    entry.add_areas(area.end.value);
  }
  return entry;
}

PageRuns checked_areas(const TrackingFile::Process& entry) {
  PageRuns areas;
  std::uint64_t end = 0;
  for (int i = 0; i + 1 < entry.areas_size(); i += 2) {
    const std::uint64_t start = entry.areas(i);
    if (start < end || entry.areas(i + 1) <= start || start % kPageSize != 0 || entry.areas(i + 1) % kPageSize != 0)
      fail(ErrorKind::Damaged, "areas that cannot be");
    end = entry.areas(i + 1);
    areas.push_back({{start}, {end}});
  }
  return areas;
}

TrackedProcess take(int keeper, const TrackingFile::Process& entry) {
  if (start_time(entry.pid()) != entry.start_time()) fail(ErrorKind::ProgramGone, "process {} has ended", entry.pid());
  FileDescriptor userfault(static_cast<int>(::syscall(SYS_pidfd_getfd, keeper, entry.number(), 0)));
  if (!userfault) fail_errno(errno, "pidfd_getfd");
  if (read_link(fmt::format("/proc/self/fd/{}", userfault.get())) != "anon_inode:[userfaultfd]")
    fail(ErrorKind::Damaged, "no userfaultfd");
  return {.pid = entry.pid(), .index = entry.index(), .userfault = std::move(userfault), .areas = checked_areas(entry)};
}

class EndOfKeeper {
 public:
  explicit EndOfKeeper(int keeper) : keeper_(keeper) {}
  ~EndOfKeeper() { ::syscall(SYS_pidfd_send_signal, keeper_, SIGKILL, nullptr, 0); }
  EndOfKeeper(const EndOfKeeper&) = delete;
  EndOfKeeper& operator=(const EndOfKeeper&) = delete;

 private:
  int keeper_;
};

TrackingFile read_tracking_file(const std::string& path) {
  constexpr std::size_t kLargest = std::size_t{1} << 28;
  TrackingFile file;
  const FileDescriptor descriptor = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file.ParseFromString(read_file(descriptor.get(), path, kLargest)) || file.boot_id() != boot_id())
    fail(ErrorKind::Failed, "nothing is known");
  return file;
}

Tracking take_all(const std::string& path) {
  const TrackingFile file = read_tracking_file(path);
  const FileDescriptor keeper = open_process(file.keeper());
  if (start_time(file.keeper()) != file.keeper_start_time()) fail(ErrorKind::Failed, "the keeper has ended");
  // Whatever goes wrong from here on: nobody would ever end the tracking otherwise.
  const EndOfKeeper end_of_keeper(keeper.get());
  Tracking tracking;
  tracking.sequence = file.sequence();
  for (const TrackingFile::Process& entry : file.processes()) {
    try {
      tracking.processes.push_back(take(keeper.get(), entry));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::ProgramGone) throw;
    }
  }
  return tracking;
}

}  // namespace

TrackedProcess* Tracking::find(pid_t pid) {
  const auto found = std::ranges::find(processes, pid, &TrackedProcess::pid);
  return found == processes.end() ? nullptr : &*found;
}

void keep_tracking(const std::string& path, const Tracking& tracking) {
  TrackingFile file;
  file.set_boot_id(boot_id());
  file.set_sequence(tracking.sequence);
  std::vector<int> held;
  std::vector<FileDescriptor> programs;
  for (const TrackedProcess& process : tracking.processes) {
    FileDescriptor program(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    if (!program) continue;  // it has ended
    *file.add_processes() = describe(process, kFirstDescriptor + static_cast<int>(held.size()));
    held.push_back(process.userfault.get());
    programs.push_back(std::move(program));
  }
  if (held.empty()) return;
  for (const FileDescriptor& program : programs) held.push_back(program.get());
  const Keeper keeper = start_keeper(held);
  file.set_keeper(keeper.pid);
  file.set_keeper_start_time(start_time(keeper.pid));
  write_file(path, file);
  if (::send(keeper.channel.get(), "", 1, MSG_NOSIGNAL) != 1) fail_errno(errno, "telling process {}", keeper.pid);
}

namespace {

bool has_ended_by(int process, std::chrono::steady_clock::time_point until) {
  pollfd ended{process, POLLIN, 0};
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    const int ready = ::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready >= 0 || errno != EINTR) return ready == 1;
  }
}

// A process called so that has a userfaultfd, and whose pidfds (proc_pid_fdinfo(5), "Pid") lead to `program`. Any
// process can be called so, and have any number of descriptors.
bool keeps_track_of(pid_t keeper, pid_t program) {
  constexpr int kMostDescriptors = 65536;
  const std::string line = fmt::format("\nPid:\t{}\n", program);
  bool has_userfault = false;
  bool has_program = false;
  std::error_code gone;
  std::filesystem::directory_iterator entry(fmt::format("/proc/{}/fd", keeper), gone);
  for (int seen = 0; !gone && seen < kMostDescriptors && entry != std::filesystem::directory_iterator(); ++seen) {
    const std::string number = entry->path().filename();
    std::error_code closed;  // just now
    const std::string target = std::filesystem::read_symlink(entry->path(), closed).native();
    has_userfault |= target == "anon_inode:[userfaultfd]";
    if (target == "anon_inode:[pidfd]" || target.starts_with("pidfd:"))
      has_program |= text_or_nothing(fmt::format("/proc/{}/fdinfo/{}", keeper, number)).contains(line);
    if (has_userfault && has_program) return true;
    entry.increment(gone);
  }
  return false;
}

// Those that this user may look at.
std::vector<FileDescriptor> keepers_of(pid_t program) {
  std::vector<FileDescriptor> keepers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || name_of_process(pid) != kKeeperName) continue;
    try {
      FileDescriptor keeper = open_process(pid);  // before it is looked at: its id may be another's then
      if (keeps_track_of(pid, program)) keepers.push_back(std::move(keeper));
    } catch (const std::exception&) {  // another user's, or it has ended
    }
  }
  return keepers;
}

}  // namespace

bool is_kept(pid_t pid) noexcept {
  try {
    return !keepers_of(pid).empty();
  } catch (const std::exception&) {
    return false;
  }
}

bool end_keepers_of(pid_t pid) noexcept {
  try {
    const std::vector<FileDescriptor> keepers = keepers_of(pid);
    for (const FileDescriptor& keeper : keepers) {
      const EndOfKeeper end(keeper.get());
    }
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    return !keepers.empty() && std::ranges::all_of(keepers, [until](const FileDescriptor& keeper) {
      return has_ended_by(keeper.get(), until);
    });
  } catch (const std::exception&) {
    return false;
  }
}

std::optional<Tracking> take_tracking(const std::string& path) noexcept {
  if (path.empty()) return std::nullopt;
  std::optional<Tracking> tracking;
  try {
    tracking = take_all(path);
  } catch (const std::exception&) {  // nothing is known
  }
  ::unlink(path.c_str());
  return tracking;
}

bool is_tracked(const std::string& path, pid_t pid) noexcept {
  try {
    const TrackingFile file = read_tracking_file(path);
    return std::ranges::any_of(file.processes(), [&](const TrackingFile::Process& process) {
      return process.pid() == pid && process.start_time() == start_time(pid);
    });
  } catch (const std::exception&) {  // there is none
    return false;
  }
}

}  // namespace crs::engine
