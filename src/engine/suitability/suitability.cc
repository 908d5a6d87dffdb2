#include "engine/suitability/suitability.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/io.h"
#include "engine/machine/capabilities.h"
#include "engine/procfs/maps.h"
#include "engine/procfs/other_names.h"
#include "engine/procfs/shared_tables.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/credentials/seccomp.h"
#include "engine/tracee/control_group.h"
#include "engine/tracee/ptrace.h"

namespace crs::engine {
namespace {

std::string status_field(pid_t pid, std::string_view name) {
  return std::string(ProcessStatus::of(pid).field(name).value_or(""));
}

// proc(5): what /proc/PID/exe leads to may be asked only by who may trace the process.
std::string advice_about_access() {
  if (::geteuid() != 0) return "Take the snapshot as root";
  return has_capability(CAP_SYS_PTRACE)
             ? "Something else than its rights keeps this root from it: a security module (AppArmor, SELinux, Yama), a "
               "Landlock sandbox, or the program's being in another user namespace"
             : "It takes CAP_SYS_PTRACE, which this root lacks (in a container: give it that)";
}

void require_access(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/exe", pid);
  std::array<char, 1> ignored{};
  if (::readlink(path.c_str(), ignored.data(), ignored.size()) >= 0 || errno != EACCES) return;
  throw Error(ErrorKind::Refused,
              fmt::format("process {} may not be looked at: it is not dumpable (prctl(2), PR_SET_DUMPABLE), or it has "
                          "changed its user ids or has privileges that you do not have",
                          pid))
      .advise(advice_about_access());
}

void refuse_tracer(pid_t pid, Refusals& refusals) {
  const std::string tracer = status_field(pid, "TracerPid");
  if (tracer.empty() || tracer == "0" || tracer == std::to_string(::getpid())) return;
  refusals.add(fmt::format("process {} is being traced by process {} ({})", pid, tracer,
                           name_of_process(std::atoi(tracer.c_str()))),
               "end the debugger or the other checkpoint first");
}

// Before any code is looked for in it; the room of the processor looks again at what the stopped thread runs.
void refuse_32_bit(pid_t pid, Refusals& refusals) {
  std::array<std::byte, EI_NIDENT> identity{};
  const std::string path = fmt::format("/proc/{}/exe", pid);
  const FileDescriptor executable(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!executable && (errno == EACCES || errno == EPERM)) return;  // the room of memory refuses it if it is needed
  // Its main thread has ended: another one takes its place (execve(2)), or all end.
  if (!executable && (errno == ENOENT || errno == ESRCH))
    fail(ErrorKind::ProgramGone, "process {} is just about to end or to execute another program", pid);
  if (!executable) fail_errno(errno, "cannot open {}", path);
  if (::pread(executable.get(), identity.data(), identity.size(), 0) != static_cast<ssize_t>(identity.size())) return;
  if (std::to_integer<int>(identity[EI_CLASS]) == ELFCLASS32) {
    refusals.add(fmt::format("process {} is a 32-bit program", pid),
                 "only 64-bit x86 programs can be kept; use a 64-bit build");
  }
}

}  // namespace

void check_is_program(pid_t pid) {
  if (pid <= 0 || !std::filesystem::exists(fmt::format("/proc/{}", pid))) {
    throw Error(ErrorKind::NotFound, fmt::format("there is no process {}", pid))
        .advise("'crs list' shows the jobs that run");
  }
  if (pid == ::getpid()) {
    throw Error(ErrorKind::Usage, fmt::format("process {} is this very command: it cannot checkpoint itself", pid))
        .advise("Name the program's process, or its job");
  }
  if (const pid_t process = process_of(pid); process != pid) {
    throw Error(ErrorKind::Usage, fmt::format("{} is a thread of process {}", pid, process))
        .advise(fmt::format("Checkpoint {}", process));
  }
  const std::string state = status_field(pid, "State");
  const pid_t living = living_thread_of(pid);
  if (living == pid && (state.starts_with("Z") || state.starts_with("X"))) {
    throw Error(ErrorKind::NotFound,
                fmt::format("process {} ({}) has ended and only waits for its parent to notice (a zombie)", pid,
                            name_of_process(pid)))
        .advise("There is nothing left to save");
  }
  if (status_field(living, "VmSize").empty()) {
    if (!is_of_kernel(living)) fail(ErrorKind::ProgramGone, "process {} is about to end", pid);
    throw Error(ErrorKind::Refused, fmt::format("process {} ({}) is a kernel thread", pid, name_of_process(pid)))
        .advise("Name a program's process: 'ps -ef' shows kernel threads in brackets");
  }
}

void refuse_unsuitable(pid_t pid, Surroundings& surroundings, Refusals& refusals) {
  require_access(pid);
  refuse_tracer(pid, refusals);
  refuse_seccomp(pid, refusals, surroundings.own_status());
  refuse_32_bit(pid, refusals);
}

void refuse_children(pid_t pid, Refusals& refusals) {
  constexpr std::size_t kNamed = 5;
  const std::vector<TreeProcess> tree = tree_of(pid);
  if (tree.size() == 1) return;
  std::string names;
  for (std::size_t i = 1; i < tree.size() && i <= kNamed; ++i)
    names += fmt::format("{}{} ({})", i == 1 ? "" : ", ", tree[i].pid, name_of_process(tree[i].pid));
  if (tree.size() > kNamed + 1) names += fmt::format(" and {} more", tree.size() - 1 - kNamed);
  refusals.add(fmt::format("process {} has child processes: {}", pid, names),
               "leave --single away: then they are part of the snapshot");
}

namespace {

std::vector<pid_t> running_of_tree(pid_t root) {
  std::vector<pid_t> pids;
  for (const TreeProcess& process : tree_of(root)) {
    if (is_running(process.pid)) pids.push_back(process.pid);
  }
  return pids;
}

}  // namespace

void refuse_memory_shared_outside(pid_t root, Refusals& refusals) {
  for (const auto& [inside, outside] : pairs_with_outside(running_of_tree(root), KCMP_VM)) {
    // It may have been made just then, or the one inside has ended: then both have none.
    const std::vector<pid_t> now = running_of_tree(root);
    if (std::ranges::find(now, outside) != now.end() || !is_running(outside) || !have_one_memory(inside, outside))
      continue;
    refusals.add(
        fmt::format("process {} and process {} ({}), which is not part of the program, have one memory (CLONE_VM "
                    "of clone(2), or a vfork(2) that is not over)",
                    innermost_id(inside), outside, name_of_process(outside)),
        "checkpoint a process that both descend from, or wait until one of them has executed another program");
  }
}

namespace {

struct Table {
  int type;  // of kcmp(2)
  std::string_view name;
};

}  // namespace

void warn_of_tables_shared_outside(pid_t pid, pid_t own_pid, std::vector<std::string>& warnings) {
  constexpr std::array<Table, 2> kShown{{{KCMP_FILES, "descriptor table"}, {KCMP_FS, "working directory"}}};
  const auto parent = static_cast<pid_t>(ProcessStatus::of(pid).number("PPid"));
  for (const Table& table : kShown) {
    if (::syscall(SYS_kcmp, pid, parent, table.type, 0, 0) != 0) continue;
    warnings.push_back(
        fmt::format("process {} and its parent, process {}, which is not part of the program, have one {}; after a "
                    "restart process {} has its own",
                    own_pid, parent, table.name, own_pid));
  }
}

namespace {

constexpr std::array<std::string_view, 9> kPlainKinds{"anon_inode:[eventfd]",
                                                      "anon_inode:[eventpoll]",
                                                      "anon_inode:[timerfd]",
                                                      "anon_inode:[signalfd]",
                                                      "/dev/null",
                                                      "/dev/zero",
                                                      "/dev/full",
                                                      "/dev/random",
                                                      "/dev/urandom"};

// By where the link of a descriptor leads: the file that is there, a standard stream's pipe, or something else that can
// always be kept.
bool is_plain(const std::filesystem::path& link, const std::string& target) {
  if (std::ranges::find(kPlainKinds, target) != kPlainKinds.end()) return true;
  if (target.starts_with("pipe:")) return link.filename().native().size() == 1 && link.filename() <= "2";
  if (target.starts_with("/dev/") && !target.starts_with("/dev/pts/") && !target.starts_with("/dev/shm/")) return false;
  struct stat opened{};
  struct stat there{};
  return target.starts_with('/') && !target.starts_with("/proc/") && ::stat(link.c_str(), &opened) == 0 &&
         ::stat(target.c_str(), &there) == 0 && opened.st_dev == there.st_dev && opened.st_ino == there.st_ino;
}

// Not by /proc/locks: on a busy machine the kernel takes seconds until nobody changes a lock.
bool has_lease(pid_t pid, const std::string& number) {
  try {
    return read_file(fmt::format("/proc/{}/fdinfo/{}", pid, number)).find(" LEASE ") != std::string::npos;
  } catch (const Error&) {
    return false;  // closed meanwhile
  }
}

bool has_only_plain_descriptors(pid_t pid) {
  std::error_code problem;
  std::filesystem::directory_iterator open(fmt::format("/proc/{}/fd", pid), problem);
  for (; !problem && open != std::filesystem::directory_iterator(); open.increment(problem)) {
    std::error_code closed;
    const std::string target = std::filesystem::read_symlink(open->path(), closed);
    if (!closed && (!is_plain(open->path(), target) || has_lease(pid, open->path().filename()))) return false;
  }
  return true;
}

bool is_gone(std::string_view shown_path) { return shown_path.ends_with(kDeleted); }

bool has_only_plain_places(pid_t pid) {
  for (const char* const place : {"cwd", "root"}) {
    std::error_code problem;
    if (is_gone(std::filesystem::read_symlink(fmt::format("/proc/{}/{}", pid, place), problem).native())) return false;
  }
  return std::ranges::none_of(read_maps(pid), [](const MapsLine& area) {
    return is_gone(area.name) || area.name.starts_with("anon_inode:") || area.name.starts_with("socket:") ||
           area.name.starts_with("/dev/");
  });
}

// Of no file; proc_pid_statm(5).
std::uint64_t resident_bytes(pid_t pid) {
  std::istringstream fields(read_task_file(pid, "statm"));
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  std::uint64_t of_files = 0;
  fields >> size >> resident >> of_files;
  return (resident - std::min(resident, of_files)) * kPageSize;
}

bool lives_in_other_namespaces(pid_t pid) {
  constexpr std::array<std::string_view, 7> kNamespaces{"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
  return std::ranges::any_of(kNamespaces, [&](std::string_view name) {
    std::error_code problem;
    const auto there = std::filesystem::read_symlink(fmt::format("/proc/{}/ns/{}", pid, name), problem);
    const auto here = std::filesystem::read_symlink(fmt::format("/proc/self/ns/{}", name), problem);
    return !problem && there != here;
  });
}

template <typename Condition>
bool any_of_tree(pid_t root, Condition condition) {
  return std::ranges::any_of(tree_of(root), [&](const TreeProcess& process) {
    try {
      return !is_zombie(process.pid) && condition(process.pid);
    } catch (const Error&) {
      return false;  // it ended just now; where something else is wrong the capture will say what
    }
  });
}

}  // namespace

namespace {

// Those in an uninterruptible sleep (proc_pid_stat(5), field 3), or held by a control group's freezer.
std::set<pid_t> deep_sleepers(pid_t root) {
  std::set<pid_t> threads;
  for (const TreeProcess& process : tree_of(root)) {
    if (!frozen_group_of(process.pid).empty()) threads.insert(process.pid);
    std::error_code gone;
    std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", process.pid), gone);
    for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
      try {
        const std::string stat = read_file(tasks->path() / "stat");
        const std::size_t name_end = stat.rfind(')');
        if (name_end + 2 < stat.size() && stat[name_end + 2] == 'D')
          threads.insert(std::atoi(tasks->path().filename().c_str()));
      } catch (const Error&) {  // it ended just now
      }
    }
  }
  return threads;
}

}  // namespace

void check_can_be_stopped(pid_t root) {
  constexpr int kMoments = 50;
  constexpr timespec kMoment{0, 10'000'000};
  std::set<pid_t> threads = deep_sleepers(root);
  for (int moment = 0; moment < kMoments && !threads.empty(); ++moment) {
    ::nanosleep(&kMoment, nullptr);
    const std::set<pid_t> now = deep_sleepers(root);
    std::erase_if(threads, [&](pid_t tid) { return !now.contains(tid); });
  }
  if (threads.empty()) return;
  throw Error(
      ErrorKind::Failed,
      fmt::format("thread {} of the program is in a wait that nothing ends, and a checkpoint gives it up after {} s",
                  *threads.begin(), ptrace::kStopTimeLimit.count()))
      .advise(ptrace::advice_about_wait(*threads.begin()));
}

std::uint64_t memory_of_program(pid_t pid) {
  std::uint64_t bytes = 0;
  any_of_tree(pid, [&](pid_t process) {
    bytes += resident_bytes(process);
    return false;
  });
  return bytes;
}

bool is_worth_examining(pid_t pid) {
  return any_of_tree(pid, [&](pid_t process) {
    return !has_only_plain_descriptors(process) || !has_only_plain_places(process) ||
           (process != pid && have_one_memory(pid, process)) || lives_in_other_namespaces(process);
  });
}

void refuse_own_ancestors(const std::vector<pid_t>& pids, Refusals& refusals) {
  for (pid_t id = ::getppid(); id > 1; id = static_cast<pid_t>(ProcessStatus::of(id).number("PPid"))) {
    const auto found = std::ranges::find(pids, id);
    if (found == pids.end() || found == pids.begin()) continue;
    refusals.add(fmt::format("process {} ({}), a descendant of process {}, has started this very command", id,
                             name_of_process(id), pids.front()),
                 "start it from outside the program, or from its first process");
  }
}

// The init of a restart's process id namespace is known by its name and by being the program's parent. A program that
// calls itself so gains nothing: it is this user's too.
bool is_made_by_restart(pid_t pid, std::string_view kind) {
  if (kind != "user" && kind != "pid" && kind != "mnt" && kind != "ipc") return false;
  return name_of_process(static_cast<pid_t>(ProcessStatus::of(pid).number("PPid"))) == kInitName;
}

}  // namespace crs::engine
