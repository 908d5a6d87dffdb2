#include "engine/procfs/tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

// A thread may end while it is looked at: its children are another thread's by then, or those of whoever adopts them.
std::string children_of_thread(const std::filesystem::path& task) {
  try {
    return read_file(task / "children");
  } catch (const Error& error) {
    if (error.error_number() == ENOENT || error.error_number() == ESRCH) return {};
    throw;
  }
}

pid_t parent_of(pid_t pid) { return static_cast<pid_t>(ProcessStatus::of(pid).number("PPid")); }

// Who adopts the orphans of this root and has nothing else to do; or 0.
pid_t adopter_of(pid_t root) {
  const pid_t parent = parent_of(root);
  if (parent <= 0) return 0;
  const std::string name = name_of_process(parent);
  return name == kInitName || name == kRunnerName ? parent : 0;
}

// proc_pid_exe(5): there is none without memory, which threads that have ended have not.
bool has_no_memory(pid_t pid) {
  char ignored = 0;
  return ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), &ignored, 1) < 0 && errno == ENOENT;
}

}  // namespace

pid_t living_thread_of(pid_t pid) {
  if (!has_no_memory(pid)) return pid;
  pid_t living = pid;
  std::error_code gone;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
    const pid_t tid = std::atoi(tasks->path().filename().c_str());
    if (tid != pid && (living == pid || tid < living) && !has_no_memory(tid)) living = tid;
  }
  return living;
}

pid_t process_of(pid_t tid) { return static_cast<pid_t>(ProcessStatus::of(tid).number("Tgid")); }

FileDescriptor open_process(pid_t pid) {
  constexpr unsigned kThread = O_EXCL;  // PIDFD_THREAD
  FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (process) return process;
  const int problem = errno;
  if (problem == ESRCH || process_of(pid) == pid) fail_errno(problem, "pidfd_open of process {}", pid);
  process = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, kThread)));
  if (process) return process;
  throw Error(ErrorKind::Refused,
              fmt::format("the main thread of process {} has ended while others go on (pthread_exit)", process_of(pid)))
      .advise("to keep such a program takes Linux 6.9");
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code gone;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
    std::istringstream list(children_of_thread(tasks->path()));
    // A program that adopts orphans may have adopted the one that takes its snapshot.
    for (pid_t child = 0; list >> child;) {
      if (child != ::getpid()) children.push_back(child);
    }
  }
  return children;
}

bool is_helper_of_crs(pid_t pid) {
  const std::string name = name_of_process(pid);
  if (name != kKeeperName && name != kPagerName && name != kHolderName && name != kCheckpointName) return false;
  struct stat own{};
  struct stat its{};
  return ::stat("/proc/self/exe", &own) == 0 && ::stat(fmt::format("/proc/{}/exe", pid).c_str(), &its) == 0 &&
         own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

std::vector<TreeProcess> tree_of(pid_t root) {
  std::vector<TreeProcess> tree{{.pid = living_thread_of(root)}};
  root = tree.front().pid;
  if (const pid_t adopter = adopter_of(root)) {
    for (const pid_t one : children_of(adopter)) {
      const pid_t child = living_thread_of(one);
      if (child != root && !is_helper_of_crs(child)) tree.push_back({.pid = child, .parent = 0, .adopted = true});
    }
  }
  for (std::size_t at = 0; at < tree.size(); ++at) {
    for (const pid_t child : children_of(tree[at].pid)) tree.push_back({.pid = living_thread_of(child), .parent = at});
  }
  return tree;
}

bool is_running(pid_t pid) {
  try {
    const ProcessStatus status = ProcessStatus::of(pid);
    const std::string_view state = status.field("State").value_or("");
    // One that ends has no memory before it is a zombie.
    return !state.starts_with('X') && status.field("VmSize").has_value();
  } catch (const Error&) {
    return false;
  }
}

namespace {

constexpr int kFlags = 9;  // proc_pid_stat(5)

}  // namespace

bool is_exiting(pid_t tid) {
  constexpr long kExiting = 0x4;  // PF_EXITING of linux/sched.h
  try {
    return (stat_number(tid, kFlags) & kExiting) != 0;
  } catch (const Error&) {
    return true;
  }
}

bool is_of_kernel(pid_t pid) {
  constexpr long kKernelThread = 0x200000;  // PF_KTHREAD of linux/sched.h
  return (stat_number(pid, kFlags) & kKernelThread) != 0;
}

bool is_zombie(pid_t pid) {
  try {
    if (!ProcessStatus::of(pid).field("State").value_or("").starts_with('Z')) return false;
    const std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid));
    return std::distance(begin(tasks), end(tasks)) <= 1;
  } catch (const std::exception&) {
    return false;  // not even that any more
  }
}

// Counted from behind the name, which may have blanks.
long stat_number(pid_t pid, int number) {
  const std::string text = read_task_file(pid, "stat");
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 2)));
  std::string field;
  for (int at = 3; at <= number; ++at) fields >> field;
  return std::strtol(field.c_str(), nullptr, 10);
}

std::string name_of_process(pid_t pid) {
  try {
    std::string name = read_file(fmt::format("/proc/{}/comm", pid));
    if (!name.empty() && name.back() == '\n') name.pop_back();
    return name;
  } catch (const Error&) {
    return "?";
  }
}

}  // namespace crs::engine
