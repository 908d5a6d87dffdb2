#include "store/running_jobs.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/clock_offsets.h"
#include "base/error.h"
#include "base/io.h"
#include "store/directory_tree.h"
#include "store/running_jobs.pb.h"

namespace crs {
namespace {

constexpr const char* kRunningName = "running";
constexpr std::size_t kLongestRecord = 4096;

// Which run of which machine, and which pid namespace, this process is in.
store::RunningRecord describe_here() {
  store::RunningRecord here;
  std::string boot = read_file("/proc/sys/kernel/random/boot_id", 128);
  while (boot.ends_with('\n')) boot.pop_back();
  here.set_boot_id(boot);
  struct stat status{};
  if (::stat("/proc/self/ns/pid", &status) != 0) fail_errno(errno, "cannot look at /proc/self/ns/pid");
  here.set_pid_namespace(status.st_ino);
  struct utsname names{};
  if (::uname(&names) != 0) fail_errno(errno, "cannot ask for the system's name");
  here.set_host(names.nodename);
  return here;
}

// The record of a job, if there is one that can be read. What cannot be parsed was not written by announce() and says
// nothing.
std::optional<store::RunningRecord> read_record(const JobDirectory& directory) {
  const FileDescriptor file(
      ::openat(directory.descriptor(), kRunningName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && (errno == ENOENT || errno == ELOOP)) return std::nullopt;
  const std::string path = directory.path() + "/" + kRunningName;
  if (!file) fail_errno(errno, "cannot open {}", path);
  store::RunningRecord record;
  if (!record.ParseFromString(read_file(file.get(), path, kLongestRecord))) return std::nullopt;
  if (record.pid() <= 0) return std::nullopt;
  return record;
}

enum class Standing { Runs, Ended, Elsewhere };

Standing standing_of(const store::RunningRecord& record) {
  const store::RunningRecord here = describe_here();
  const bool same_boot = record.boot_id() == here.boot_id();
  if (!same_boot) return record.host() == here.host() ? Standing::Ended : Standing::Elsewhere;
  if (record.pid_namespace() != here.pid_namespace()) return Standing::Elsewhere;
  return start_time_of(record.pid()) == record.start_time() ? Standing::Runs : Standing::Ended;
}

FileLock lock_record(const JobDirectory& directory) {
  // Held for the few steps of an announcement or withdrawal.
  constexpr std::chrono::seconds kLimit{30};
  std::optional<FileLock> lock =
      FileLock::acquire(directory.descriptor(), kRunningLockName, directory.path(), kLimit, [] {});
  if (!lock) fail(ErrorKind::Failed, "{}/{} stays locked by another process", directory.path(), kRunningLockName);
  return std::move(*lock);
}

void drop_record(const JobDirectory& directory) {
  if (::unlinkat(directory.descriptor(), kRunningName, 0) != 0 && errno != ENOENT) {
    throw disk_error(fmt::format("cannot remove {}/{}", directory.path(), kRunningName), errno);
  }
}

// Drops an entry that has ended, unless it has been replaced meanwhile. A store that cannot be written keeps it; it is
// then recognised anew each time.
void drop_if_ended(const JobDirectory& directory) {
  try {
    const FileLock lock = lock_record(directory);
    const std::optional<store::RunningRecord> record = read_record(directory);
    if (record && standing_of(*record) == Standing::Ended) drop_record(directory);
  } catch (const Error&) {
    return;
  }
}

[[noreturn]] void refuse_name(const RunningJob& running) {
  if (running.restarting) {
    throw Error(ErrorKind::Failed, fmt::format("the job {} is just being restarted, by process {} (crs restart)",
                                               running.job, running.pid))
        .advise("Give another name with --name, or wait until 'crs list' shows that it runs");
  }
  throw Error(ErrorKind::Failed, fmt::format("the job {} runs already, as process {}", running.job, running.pid))
      .advise("Give another name with --name, or end that process first");
}

}  // namespace

namespace {

// From the state, field 3, on. The second field, the name in parentheses, may hold spaces and parentheses itself
// (proc_pid_stat(5)). Nothing: the text is none of a stat file.
std::optional<std::string_view> from_state(std::string_view stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos || stat.size() - name_end < 3) return std::nullopt;
  return stat.substr(name_end + 2);
}

bool skip_fields(std::string_view& text, int count) {
  for (int i = 0; i < count; ++i) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return false;
    text.remove_prefix(space + 1);
  }
  return true;
}

bool is_above_one(std::string_view text) {
  int number = 0;
  return std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc{} && number > 1;
}

}  // namespace

std::optional<std::uint64_t> parse_start_time(std::string_view stat) {
  const std::optional<std::string_view> fields = from_state(stat);
  if (!fields) return std::nullopt;
  std::string_view rest = *fields;
  const char state = rest.front();
  if (state == 'X' || !skip_fields(rest, 20 - 3)) return std::nullopt;
  // Of a process whose main thread alone has ended the others are counted.
  if (state == 'Z' && !is_above_one(rest)) return std::nullopt;
  if (!skip_fields(rest, 22 - 20)) return std::nullopt;
  std::uint64_t ticks = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), ticks).ec != std::errc{}) return std::nullopt;
  return ticks;
}

std::optional<std::uint64_t> start_time_of(pid_t pid) {
  try {
    const auto start = parse_start_time(read_file(fmt::format("/proc/{}/stat", pid), 65536));
    return start ? std::optional(start_time_for_all(*start)) : std::nullopt;
  } catch (const Error& error) {
    if (error.error_number() == ENOENT || error.error_number() == ESRCH) return std::nullopt;
    throw;
  }
}

namespace {

// Of the text of a thread's stat file, from the state on: the kernel has begun to end it, or a signal has, with a core
// dump perhaps (field 9, include/linux/sched.h).
bool is_exiting(std::string_view fields) {
  constexpr unsigned kExiting = 0x4;     // PF_EXITING
  constexpr unsigned kSignaled = 0x400;  // PF_SIGNALED
  unsigned flags = 0;
  if (!skip_fields(fields, 9 - 3)) return false;
  std::from_chars(fields.data(), fields.data() + fields.size(), flags);
  return (flags & (kExiting | kSignaled)) != 0;
}

// Of the text of a thread's status file: SIGKILL waits for it or for all of its process (proc(5), SigPnd and ShdPnd,
// hexadecimal). The kernel also sends it to each thread of a process that ends.
bool is_being_killed(std::string_view status) {
  return std::ranges::any_of(std::array{"\nSigPnd:\t", "\nShdPnd:\t"}, [&](std::string_view name) {
    const std::size_t place = status.find(name);
    std::uint64_t waiting = 0;
    if (place == std::string_view::npos) return false;
    std::from_chars(status.data() + place + name.size(), status.data() + status.size(), waiting, 16);
    return (waiting >> (SIGKILL - 1) & 1) != 0;
  });
}

struct Threads {
  int ending = 0;
  int others = 0;
};

// Zombies, which main threads are that have ended before the others, count as neither.
void count_thread(const std::string& folder, Threads& threads) {
  constexpr std::size_t kLongest = 65536;
  try {
    const std::string stat = read_file(folder + "/stat", kLongest);
    const std::string_view fields = from_state(stat).value_or("?");
    if (fields.front() == 'Z') return;
    const bool ends = is_exiting(fields) || is_being_killed(read_file(folder + "/status", kLongest));
    ++(ends ? threads.ending : threads.others);
  } catch (const Error& error) {
    if (error.error_number() != ENOENT && error.error_number() != ESRCH) ++threads.others;
  }
}

Threads threads_of(pid_t pid) {
  Threads threads;
  std::error_code problem;
  for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), problem))
    count_thread(thread.path(), threads);
  return threads;
}

constexpr std::chrono::seconds kLongestEnd{10};

enum class End { None, Pending, Complete };

// Waits for a process that is ending: a program of many threads or of much memory is there for a while when nothing can
// keep it any more. A thread may have ended for itself: whether all do is asked after a moment, when those that are to
// end have begun.
End await_end(pid_t pid) {
  using Clock = std::chrono::steady_clock;
  constexpr int kMomentMilliseconds = 100;
  constexpr int kLooks = 2;
  const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return End::Complete;
  if (threads_of(pid).ending == 0) return End::None;
  pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};  // pidfd_open(2): the last thread has ended
  const auto limit = Clock::now() + kLongestEnd;
  int alive = 0;  // looks in a row at which a thread was not about to end
  do {
    if (::poll(&ended, 1, kMomentMilliseconds) > 0) return End::Complete;
    const Threads threads = threads_of(pid);
    alive = threads.others > 0 ? alive + 1 : 0;
    if (threads.ending == 0 || alive == kLooks) return End::None;
  } while (Clock::now() < limit);
  return End::Pending;
}

[[noreturn]] void refuse_ending(const RunningJob& running) {
  throw Error(ErrorKind::Failed, fmt::format("process {} of the job {} is ending, and is not gone after {} s",
                                             running.pid, running.job, kLongestEnd.count()))
      .advise("Wait until it is gone, or give another name with --name");
}

}  // namespace

void RunningJobs::announce(const std::string& job, pid_t pid, pid_t predecessor, Runner runner) {
  const std::optional<std::uint64_t> start_time = start_time_of(pid);
  if (!start_time) fail(ErrorKind::ProgramGone, "process {} of the job {} has ended", pid, job);
  store::RunningRecord record = describe_here();
  record.set_pid(pid);
  record.set_start_time(*start_time);
  record.set_restarting(runner == Runner::Restart);
  store_.with_job(job, [&](const JobDirectory& directory) {
    const FileLock lock = lock_record(directory);
    const std::optional<store::RunningRecord> present = read_record(directory);
    const bool by_others = present && present->pid() != pid && present->pid() != predecessor;
    if (by_others && standing_of(*present) == Standing::Runs) refuse_name({job, present->pid(), present->restarting()});
    // It names a process of this boot.
    replace_file(store_.disk(), directory.descriptor(), kRunningName, record.SerializeAsString(), directory.path(),
                 Durability::UntilReboot);
  });
}

void RunningJobs::withdraw(const std::string& job, pid_t pid) {
  const std::optional<JobDirectory> directory = store_.open_job(job);
  if (!directory) return;
  {
    const FileLock lock = lock_record(*directory);
    const std::optional<store::RunningRecord> record = read_record(*directory);
    if (record && record->pid() == pid && standing_of(*record) != Standing::Elsewhere) drop_record(*directory);
  }
  directory->clean_leftovers_if_idle();
}

void RunningJobs::check_free(const std::string& job, pid_t except) const {
  std::optional<RunningJob> running = find(job);
  if (!running || running->pid == except) return;
  const End end = await_end(running->pid);
  running = find(job);
  if (running && end == End::Pending) refuse_ending(*running);
  if (running) refuse_name(*running);
}

std::optional<RunningJob> RunningJobs::find(const std::string& job) const {
  const std::optional<JobDirectory> directory = store_.open_job(job);
  if (!directory) return std::nullopt;
  const std::optional<store::RunningRecord> record = read_record(*directory);
  if (!record) return std::nullopt;
  const Standing standing = standing_of(*record);
  if (standing == Standing::Ended) drop_if_ended(*directory);
  if (standing != Standing::Runs) return std::nullopt;
  return RunningJob{job, record->pid(), record->restarting()};
}

std::optional<RunningJob> RunningJobs::find_process(pid_t pid) const {
  for (const RunningJob& running : list()) {
    if (running.pid == pid) return running;
  }
  return std::nullopt;
}

std::vector<RunningJob> RunningJobs::list() const {
  std::vector<RunningJob> running;
  for (const std::string& job : store_.jobs()) {
    if (const std::optional<RunningJob> found = find(job)) running.push_back(*found);
  }
  return running;
}

}  // namespace crs
