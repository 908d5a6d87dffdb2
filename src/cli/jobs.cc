#include "cli/jobs.h"

#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/tree.h"
#include "framework/nearest.h"

namespace crs::cli {
namespace {

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

// A file below /proc/PID, or nothing if the process has gone or forbids it.
std::optional<std::string> process_file(pid_t pid, std::string_view name) {
  try {
    return read_file(fmt::format("/proc/{}/{}", pid, name), std::size_t{1} << 22);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string status_field(pid_t pid, std::string_view name) {
  const std::string status = process_file(pid, "status").value_or("");
  const std::string label = fmt::format("{}:\t", name);
  std::size_t start = 0;
  while (start < status.size() && std::string_view(status).substr(start, label.size()) != label) {
    const std::size_t end = status.find('\n', start);
    start = end == std::string::npos ? status.size() : end + 1;
  }
  if (start >= status.size()) return "";
  start += label.size();
  return status.substr(start, status.find('\n', start) - start);
}

pid_t parent_of(pid_t pid) {
  const std::string text = status_field(pid, "PPid");
  pid_t parent = 0;
  std::from_chars(text.data(), text.data() + text.size(), parent);
  return parent;
}

bool is_below(pid_t pid, pid_t ancestor) {
  constexpr int kDeepest = 64;  // of what crs itself puts above a program: far more than ever occurs
  for (int depth = 0; depth < kDeepest && pid > 1; ++depth) {
    pid = parent_of(pid);
    if (pid == ancestor) return true;
  }
  return false;
}

// A program that an ordinary user restarted in place has crs's own executable link, but not its code.
bool executes_crs(pid_t pid) {
  struct stat own{};
  struct stat other{};
  const std::string link = fmt::format("/proc/{}/exe", pid);
  const bool linked = ::stat("/proc/self/exe", &own) == 0 && ::stat(link.c_str(), &other) == 0 &&
                      own.st_dev == other.st_dev && own.st_ino == other.st_ino;
  if (!linked) return false;
  const std::optional<std::string> maps = process_file(pid, "maps");
  return !maps || maps->contains(" " + read_link(link));
}

std::string user_name(uid_t user) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 16384> buffer{};
  ::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found);
  return found != nullptr ? found->pw_name : std::to_string(user);
}

[[noreturn]] void fail_no_process(const std::string& number) {
  throw Error(ErrorKind::NotFound, fmt::format("there is no process {}", number))
      .advise("'crs list' shows the jobs that run");
}

void check_exists(pid_t pid) {
  if (::kill(pid, 0) == 0) return;
  if (errno == EPERM) {
    struct stat status{};
    const bool known = ::stat(fmt::format("/proc/{}", pid).c_str(), &status) == 0;
    throw Error(ErrorKind::Refused, fmt::format("process {} belongs to {}", pid,
                                                known ? "user " + user_name(status.st_uid) : "another user"))
        .advise("Only that user and root can checkpoint it");
  }
  fail_no_process(std::to_string(pid));
}

void check_is_program(pid_t pid) {
  check_exists(pid);
  const std::string name = status_field(pid, "Name");
  const std::string state = status_field(pid, "State");
  // Its main thread has ended while others go on; whether that can be kept is the checkpointer's to say.
  if (state.starts_with("Z") && status_field(pid, "Threads") != "1") return;
  if (state.starts_with("Z") || state.starts_with("X")) {
    throw Error(
        ErrorKind::NotFound,
        fmt::format("process {} ({}) has ended and only waits for its parent to take note (a zombie)", pid, name))
        .advise("There is nothing left to save");
  }
  const std::string group = status_field(pid, "Tgid");
  if (!group.empty() && group != std::to_string(pid)) {
    throw Error(ErrorKind::Usage, fmt::format("{} is a thread of process {}", pid, group))
        .advise(fmt::format("Checkpoint {}", group));
  }
  if (status_field(pid, "VmSize").empty()) {
    if (!engine::is_of_kernel(pid)) fail(ErrorKind::ProgramGone, "process {} is about to end", pid);
    throw Error(ErrorKind::Refused, fmt::format("process {} ({}) is a part of the kernel, not a program", pid, name))
        .advise("Name a program's process: 'ps -ef' shows parts of the kernel in brackets");
  }
}

std::string command_of_process(pid_t pid) {
  const std::string line = process_file(pid, "cmdline").value_or("");
  const std::string first = line.substr(0, line.find('\0'));
  return first.empty() ? status_field(pid, "Name") : first;
}

[[noreturn]] void fail_restarting(const RunningJob& running) {
  throw Error(ErrorKind::Failed,
              fmt::format("the job {} is just being restarted, by process {} (crs restart)", running.job, running.pid))
      .advise("Try again when 'crs list' shows that it runs");
}

Target find_process(const RunningJobs& jobs, pid_t pid) {
  if (pid == ::getpid()) {
    throw Error(ErrorKind::Usage, fmt::format("process {} is this very command, the tool itself", pid))
        .advise("Name the program's process, or its job; 'crs list' shows the jobs that run");
  }
  check_is_program(pid);
  if (const auto running = jobs.find_process(pid)) {
    if (running->restarting) fail_restarting(*running);
    return {.pid = pid, .job = running->job};
  }
  if (!executes_crs(pid))
    return {.pid = pid, .job = default_job_name(command_of_process(pid), pid), .has_made_up_job = true};
  // `crs run prog & crs checkpoint $!` means prog.
  for (const RunningJob& running : jobs.list()) {
    if (is_below(running.pid, pid)) return {.pid = running.pid, .job = running.job};
  }
  throw Error(ErrorKind::Refused, fmt::format("process {} is crs itself, the tool, and no program runs below it", pid))
      .advise("'crs list' shows the jobs that run");
}

// As execve(2) names a process, or as it names itself when it stays in the foreground.
bool has_name_of_crs(pid_t pid) {
  constexpr std::size_t kLongestName = 15;  // TASK_COMM_LEN
  const std::string executable = read_link("/proc/self/exe");
  const std::string name = status_field(pid, "Name");
  return name == engine::kRunnerName || name == executable.substr(executable.rfind('/') + 1, kLongestName);
}

// The command in the foreground that made the process and has not let it go yet; 0 if there is none.
pid_t maker_of(pid_t pid) {
  const std::string text = status_field(pid, "TracerPid");
  pid_t tracer = 0;
  std::from_chars(text.data(), text.data() + text.size(), tracer);
  return tracer > 0 && status_field(tracer, "Name") == engine::kRunnerName && executes_crs(tracer) ? tracer : 0;
}

// Whether the process is a `crs run` that has not executed its program yet, a `crs restart` that still makes it, or the
// program before it is let go. (A program that crs restarted in place may have crs's executable link, but not its
// name.)
bool becomes_program(pid_t pid) { return (executes_crs(pid) && has_name_of_crs(pid)) || maker_of(pid) != 0; }

// `crs run prog & crs checkpoint prog` means the program, which is announced by its job's name just before it begins.
std::optional<RunningJob> find_begun(const RunningJobs& jobs, const std::string& name) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kPause(2);
  constexpr std::chrono::seconds kLimit(10);
  const auto end = Clock::now() + kLimit;
  auto running = jobs.find(name);
  while (running && (running->restarting || becomes_program(running->pid)) && Clock::now() < end) {
    std::this_thread::sleep_for(kPause);
    running = jobs.find(name);
  }
  return running;
}

// A process of this machine that may be the program of which the snapshot was taken; 0 if there is none. The register
// does not know a program that crs did not start.
pid_t may_be_still(const store::Manifest& manifest) {
  utsname names{};
  const pid_t pid = manifest.program().pid();
  if (pid <= 0 || ::uname(&names) != 0 || manifest.host() != names.nodename) return 0;
  std::error_code problem;
  const auto executable = std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), problem);
  return !problem && executable.native() == manifest.program().executable() ? pid : 0;
}

std::string advice_from_snapshots(const std::vector<SnapshotInfo>& snapshots, const std::string& name) {
  std::string restart = fmt::format("'crs restart {}' starts it from its newest snapshot", name);
  const SnapshotInfo& newest = snapshots.back();
  const pid_t pid = newest.damage ? 0 : may_be_still(newest.manifest);
  if (pid == 0) return restart;
  return fmt::format("process {0} may be that program still: 'crs checkpoint --name {1} {0}'; if it is not, {2}", pid,
                     name, restart);
}

[[noreturn]] void fail_no_job(const Store& store, const RunningJobs& jobs, const std::string& name) {
  Error error(ErrorKind::NotFound, fmt::format("no job '{}' is running", name));
  const std::vector<SnapshotInfo> snapshots = store.list(name);
  if (!snapshots.empty()) throw error.advise(advice_from_snapshots(snapshots, name));
  std::vector<std::string> names;
  for (const RunningJob& running : jobs.list()) names.push_back(running.job);
  const std::string nearest = meant_name(name, names);
  throw error.advise(nearest.empty()
                         ? "'crs list' shows the jobs that run; one that crs did not start has only its process id"
                         : fmt::format("Did you mean '{}'?", nearest));
}

}  // namespace

Announcement::Announcement(Store& store, std::string job, pid_t pid, Runner runner)
    : jobs_(store), job_(std::move(job)), pid_(pid) {
  jobs_.announce(job_, pid_, ::getpid(), runner);  // it may have been the job's process itself until now
}

Announcement::~Announcement() {
  if (kept_) return;
  try {
    jobs_.withdraw(job_, pid_);
  } catch (const Error&) {
    // The process has ended or is about to: whoever meets the entry sees that.
  }
}

void Announcement::hand_over(pid_t pid) {
  jobs_.announce(job_, pid, pid_);
  pid_ = pid;
}

Target find_target(Store& store, const std::string& text) {
  const RunningJobs jobs(store);
  if (is_digits(text)) {
    pid_t pid = 0;
    const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (problem != std::errc{} || pid == 0) fail_no_process(text);
    return find_process(jobs, pid);
  }
  if (text.find('@') != std::string::npos) {
    throw Error(ErrorKind::Usage, fmt::format("'{}' is a snapshot, not a running job", text))
        .advise("Name the job or a process id");
  }
  check_job_name(text);
  const auto running = find_begun(jobs, text);
  if (!running) fail_no_job(store, jobs, text);
  if (running->restarting) fail_restarting(*running);
  if (becomes_program(running->pid)) {
    throw Error(ErrorKind::Failed,
                fmt::format("process {}, by which job {} is known, is crs itself and has not become the program yet",
                            running->pid, text))
        .advise("Try again when the program has begun");
  }
  check_is_program(running->pid);
  return {.pid = running->pid, .job = running->job};
}

std::string job_of_process(Store& store, pid_t pid, const std::string& known) {
  if (const auto running = RunningJobs(store).find_process(pid)) return running->job;
  return known.empty() ? default_job_name(command_of_process(pid), pid) : known;
}

std::string default_job_name(std::string_view command, pid_t pid) {
  constexpr std::size_t kLongestBase = 100;  // leaves room for the process id within a job name's 128
  const std::size_t slash = command.rfind('/');
  if (slash != std::string_view::npos && slash + 1 < command.size()) command.remove_prefix(slash + 1);
  std::string base;
  for (const char c : command.substr(0, kLongestBase)) {
    const bool allowed =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("._+-").find(c) != std::string_view::npos;
    base += allowed ? c : '_';
  }
  const std::size_t first = std::min(base.find_first_not_of("._+-"), base.size());
  base.erase(0, first);
  return fmt::format("{}-{}", base.empty() ? "program" : base, pid);
}

}  // namespace crs::cli
