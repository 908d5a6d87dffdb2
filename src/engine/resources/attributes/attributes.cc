#include "engine/resources/attributes/attributes.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <climits>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "engine/procfs/other_names.h"
#include "engine/procfs/status.h"
#include "engine/resources/attributes/barriers.h"
#include "engine/resources/attributes/limits.h"
#include "engine/resources/credentials/seccomp.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/processor/local_descriptors.h"

namespace crs::engine {
namespace {

// prctl(2) and arch_prctl(2) settings that older headers lack, and the kernel that has them first.
constexpr int kSetMdwe = 65;  // 6.3
constexpr int kGetMdwe = 66;
constexpr int kSetMemoryMerge = 67;  // 6.4
constexpr int kGetMemoryMerge = 68;
constexpr int kGetComponentPermission = 0x1022;  // ARCH_GET_XCOMP_PERM, 5.16
constexpr int kRequestComponentPermission = 0x1023;
constexpr int kGetCpuid = 0x1011;  // ARCH_GET_CPUID, 4.12
constexpr int kSetCpuid = 0x1012;
constexpr int kSchedulingCore = 62;  // PR_SCHED_CORE, 5.14
constexpr int kTimerIds = 77;        // PR_TIMER_CREATE_RESTORE_IDS, 6.15
constexpr int kTimerIdsOn = 1;
constexpr int kTimerIdsGet = 2;

constexpr std::uint64_t kNoTaggedAddresses = ~std::uint64_t{0};
// Components 17 and 18, the tiles of AMX, are the only ones that a program must ask for
// (Documentation/arch/x86/xstate.rst).
constexpr std::uint64_t kComponentsOnRequest = 0x60000;
constexpr int kTileComponent = 18;

std::int64_t query(RemoteCaller& remote, int option, int argument = 0) {
  return remote.raw_call(SYS_prctl,
                         {static_cast<std::uint64_t>(option), static_cast<std::uint64_t>(argument), 0, 0, 0, 0});
}

// A setting that this kernel may not have: then it is at its default, 0.
std::uint32_t query_or_none(RemoteCaller& remote, int option) {
  const std::int64_t value = query(remote, option);
  return value < 0 ? 0 : static_cast<std::uint32_t>(value);
}

// Where /proc/PID/NAME leads, or nothing if no path leads there any more.
std::optional<std::string> reachable_path(pid_t pid, std::string_view name) {
  const std::string link = fmt::format("/proc/{}/{}", pid, name);
  std::string path = read_link(link);
  struct stat there{};
  struct stat here{};
  if (::stat(link.c_str(), &there) != 0) fail_errno(errno, "cannot look at {}", link);
  const bool reached = ::stat(path.c_str(), &here) == 0 && there.st_dev == here.st_dev && there.st_ino == here.st_ino;
  if (!reached) return std::nullopt;
  return path;
}

bool is_own_name(const CaptureContext& context, std::string_view name) {
  return name == std::to_string(context.pid) || name == std::to_string(context.own_pid);
}

bool is_in_proc(const std::string& link) {
  struct statfs file_system{};
  return ::statfs(link.c_str(), &file_system) == 0 && file_system.f_type == PROC_SUPER_MAGIC;
}

// Directories of the process's own in /proc follow it when its id changes; seen from another process id namespace they
// have another name. Those of others, and of one thread, cannot be found again and are refused. Nothing if `path` is no
// directory of a process.
std::optional<std::string> process_directory(CaptureContext& context, std::string_view what, const std::string& path) {
  constexpr std::string_view kProcesses = "/proc/";
  const bool is_of_process =
      path.starts_with(kProcesses) && std::isdigit(static_cast<unsigned char>(path[kProcesses.size()])) != 0;
  if (!is_of_process) return std::nullopt;
  const std::size_t end = std::min(path.find('/', kProcesses.size()), path.size());
  const std::string rest = path.substr(end);
  const bool is_own = is_own_name(context, path.substr(kProcesses.size(), end - kProcesses.size()));
  if (!is_own || rest.starts_with("/task/")) {
    context.refusals.add(fmt::format("the {} of process {} is {}, a directory of {}", what, context.own_pid, path,
                                     is_own ? "one thread" : "another process"),
                         "change to another directory");
  }
  return "/proc/self" + rest;
}

// A program may have come there with other rights, or been started there by somebody else.
void refuse_closed_directory(CaptureContext& context, std::string_view what, const std::string& path) {
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 || errno != EACCES) return;
  context.refusals.add(
      fmt::format("the {} of process {} is {}, which this user may not enter", what, context.own_pid, path),
      "change to another directory, or take and restart the snapshot as root");
}

// Whether the working directory was removed. It is made again like unlinked files are.
bool capture_removed_directory(CaptureContext& context, image::Attributes& attributes) {
  const std::string link = fmt::format("/proc/{}/cwd", context.pid);
  const std::string shown = read_link(link);
  if (!shown.ends_with(kDeleted)) return false;
  struct stat status{};
  if (::stat(link.c_str(), &status) != 0) fail_errno(errno, "cannot look at {}", link);
  if (!is_removed_directory(status, shown)) return false;
  attributes.set_working_directory(shown);
  attributes.set_removed_working_directory(context.objects.keep_directory(context, link, status, shown));
  return true;
}

void capture_directory(CaptureContext& context, std::string_view name, std::string_view what, std::string& kept) {
  const std::string link = fmt::format("/proc/{}/{}", context.pid, name);
  const std::string shown = read_link(link);
  const auto own = is_in_proc(link) ? process_directory(context, what, shown) : std::nullopt;
  if (own) {
    kept = *own;
  } else if (auto path = reachable_path(context.pid, name)) {
    refuse_closed_directory(context, what, *path);
    kept = std::move(*path);
  } else {
    context.refusals.add(
        fmt::format("the {} of process {}, {}, cannot be reached by that path (deleted, or covered by a mount)", what,
                    context.own_pid, shown),
        "change to another directory, or make that one again");
  }
}

// unshare(2) gives a thread a table of its own: with CLONE_FS a working directory, root and umask, with CLONE_FILES
// descriptors.
void refuse_divided(CaptureContext& context, int type, std::string_view what) {
  for (const pid_t tid : context.threads) {
    if (tid == context.pid || ::syscall(SYS_kcmp, context.pid, tid, type, 0, 0) == 0) continue;
    if (errno == ENOSYS) return;
    context.refusals.add(
        fmt::format("thread {} of process {} has a {} of its own", innermost_id(tid), context.own_pid, what),
        fmt::format("CRS keeps one {} for a process", what));
  }
}

void refuse_processor_extensions(CaptureContext& context, const ProcessStatus& status) {
  if (status.field("untag_mask") && status.hexadecimal("untag_mask") != kNoTaggedAddresses) {
    context.refusals.add(fmt::format("process {} uses tagged addresses (linear address masking)", context.own_pid),
                         "start it without them");
  }
  const std::string_view features = status.field("x86_Thread_features").value_or("");
  if (features.find("shstk") != std::string_view::npos) {
    context.refusals.add(fmt::format("process {} uses a shadow stack", context.own_pid),
                         "start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off");
  }
}

void warn_of_core_scheduling(CaptureContext& context) {
  constexpr int kGet = 0;
  std::uint64_t cookie = 0;
  if (::prctl(kSchedulingCore, kGet, context.pid, 0, &cookie) != 0 || cookie == 0) return;
  context.warnings.emplace_back("the program is in a core scheduling group, which is not part of the snapshot");
}

std::uint64_t requested_components(RemoteCaller& remote) {
  const std::int64_t result =
      remote.raw_call(SYS_arch_prctl, {kGetComponentPermission, remote.scratch().value, 0, 0, 0, 0});
  return result < 0 ? 0 : remote.get<std::uint64_t>() & kComponentsOnRequest;
}

int parse_integer(std::string_view text, int base, std::string_view what) {
  int value = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (problem != std::errc{}) fail(ErrorKind::Failed, "cannot read {}: '{}'", what, text);
  return value;
}

void check_directory(const std::string& path, std::string_view what) {
  if (!path.starts_with('/') || path.size() >= PATH_MAX || path.find('\0') != std::string::npos)
    fail(ErrorKind::Damaged, "the {} '{}' is no absolute path", what, path.substr(0, 100));
  struct stat status{};
  int problem = ::stat(path.c_str(), &status) == 0 ? 0 : errno;
  if (problem == 0 && !S_ISDIR(status.st_mode)) problem = ENOTDIR;
  if (problem == 0) return;
  Error error = Error::from_errno(fmt::format("the {} of the program, {}, cannot be reached", what, path), problem);
  throw error.advise("Make the directory again");
}

FileDescriptor working_directory_inside(const NewbornContext& context, const image::Attributes& attributes) {
  if (!attributes.has_removed_working_directory())
    return open_file(attributes.working_directory(), O_PATH | O_DIRECTORY);
  const int object =
      content_object_descriptor(context.first_private_descriptor, attributes.removed_working_directory());
  return open_file(fmt::format("/proc/self/fd/{}", object), O_PATH | O_DIRECTORY);
}

void capture_directories(CaptureContext& context, image::Attributes& attributes) {
  if (context.directories_of) return attributes.set_directories_of(*context.directories_of);
  if (!capture_removed_directory(context, attributes))
    capture_directory(context, "cwd", "working directory", *attributes.mutable_working_directory());
  capture_directory(context, "root", "root directory", *attributes.mutable_root());
  attributes.set_umask(static_cast<std::uint32_t>(ProcessStatus::of(context.pid).number("Umask", 8)));
}

void check_directories(const image::Attributes& attributes, std::uint32_t content_objects) {
  if (attributes.has_directories_of()) return;  // that it has none of its own is checked with the tree
  check_directory(attributes.root(), "root directory");
  if (!attributes.has_removed_working_directory())
    return check_directory(attributes.working_directory(), "working directory");
  if (attributes.removed_working_directory() >= content_objects)
    fail(ErrorKind::Damaged, "the image's working directory, which was removed, is not there");
}

void enter_directories_inside(const NewbornContext& context, const image::Attributes& attributes) {
  const FileDescriptor directory = working_directory_inside(context, attributes);
  if (attributes.root() != "/" && ::chroot(attributes.root().c_str()) != 0) {
    fail_errno(errno, "cannot change the root directory to {}", attributes.root());
  }
  if (::fchdir(directory.get()) != 0)
    fail_errno(errno, "cannot enter the working directory {}", attributes.working_directory());
}

// False if it is not permitted. Other failures are an Error.
bool write_task_file(pid_t pid, std::string_view name, const std::string& text) {
  const std::string path = fmt::format("/proc/{}/{}", pid, name);
  try {
    const FileDescriptor file = open_file(path, O_WRONLY);
    write_all(file.get(), path, as_byte_span(text));
    return true;
  } catch (const Error& error) {
    if (error.error_number() == EACCES || error.error_number() == EPERM) return false;
    throw;
  }
}

void restore_oom_score_adjustment(RestoreContext& context, int wanted) {
  const int now = parse_integer(read_task_file(context.pid, "oom_score_adj"), 10, "oom_score_adj");
  if (now == wanted || write_task_file(context.pid, "oom_score_adj", std::to_string(wanted))) return;
  context.notes.push_back(
      fmt::format("oom_score_adj stays at {}: lowering it to {} takes CAP_SYS_RESOURCE", now, wanted));
}

void restore_core_dump_filter(RestoreContext& context, std::uint64_t wanted) {
  const auto now =
      static_cast<std::uint64_t>(parse_integer(read_task_file(context.pid, "coredump_filter"), 16, "coredump_filter"));
  if (now == wanted || write_task_file(context.pid, "coredump_filter", fmt::format("{:#x}", wanted))) return;
  context.notes.emplace_back("the core dump filter could not be set");
}

}  // namespace

namespace {

// What only the process itself can tell.
void ask_for_attributes(RemoteCaller& remote, const ProcessStatus& status, image::Attributes& attributes) {
  attributes.set_dumpable(
      static_cast<std::uint32_t>(remote.call("prctl(PR_GET_DUMPABLE)", SYS_prctl, PR_GET_DUMPABLE)));
  remote.call("prctl(PR_GET_CHILD_SUBREAPER)", SYS_prctl, PR_GET_CHILD_SUBREAPER, remote.scratch());
  attributes.set_child_subreaper(remote.get<int>() != 0);
  attributes.set_huge_pages_disabled(query_or_none(remote, PR_GET_THP_DISABLE));
  attributes.set_deny_write_execute(query_or_none(remote, kGetMdwe));
  attributes.set_memory_merge(query_or_none(remote, kGetMemoryMerge) != 0);
  attributes.set_state_components(requested_components(remote));
  remote.call("prctl(PR_GET_TSC)", SYS_prctl, PR_GET_TSC, remote.scratch());
  // Strict mode brings that along for its thread.
  attributes.set_time_stamp_faults(remote.get<int>() == PR_TSC_SIGSEGV && !is_in_strict_mode(status));
  attributes.set_cpuid_faults(remote.raw_call(SYS_arch_prctl, {kGetCpuid, 0, 0, 0, 0, 0}) == 0);
  attributes.set_chooses_timer_ids(query(remote, kTimerIds, kTimerIdsGet) == 1);
  capture_barriers(remote, attributes);
}

}  // namespace

// A child has from its parent how it may read clocks and ask for the processor; what is asked besides is the memory's,
// which it shares (RemoteCaller::Answer).
void foresee_attributes(Questions& questions) {
  constexpr std::size_t kReturned = RemoteCaller::kReturned;
  for (const int option : {PR_GET_DUMPABLE, PR_GET_THP_DISABLE, kGetMdwe, kGetMemoryMerge})
    questions.of_copy_too.push_back({SYS_prctl, {static_cast<std::uint64_t>(option)}, kReturned});
  questions.of_copy_too.push_back({SYS_prctl, {PR_GET_TSC}, 1});
  questions.of_copy_too.push_back({SYS_arch_prctl, {kGetCpuid}, kReturned});
  foresee_barriers(questions);
  questions.of_thread.push_back({SYS_prctl, {PR_GET_CHILD_SUBREAPER}, 1});
  questions.of_thread.push_back({SYS_prctl, {kTimerIds, kTimerIdsGet}, kReturned});
}

void capture_attributes(CaptureContext& context, image::Attributes& attributes) {
  const ProcessStatus& status = context.statuses.of(context.pid);
  refuse_processor_extensions(context, status);
  refuse_divided(context, KCMP_FS, "working directory");
  refuse_divided(context, KCMP_FILES, "descriptor table");
  warn_of_core_scheduling(context);

  capture_directories(context, attributes);
  for (const ResourceLimit& limit : limits_of(context.pid)) {
    image::Limit& kept = *attributes.add_limits();
    kept.set_soft(limit.soft);
    kept.set_hard(limit.hard);
  }
  attributes.set_oom_score_adjustment(parse_integer(read_task_file(context.pid, "oom_score_adj"), 10, "oom_score_adj"));
  attributes.set_core_dump_filter(
      static_cast<std::uint64_t>(parse_integer(read_task_file(context.pid, "coredump_filter"), 16, "coredump_filter")));

  if (!context.only_looks) ask_for_attributes(context.remote, status, attributes);
  capture_local_descriptors(context, attributes);
}

void check_attributes(CheckContext&, const image::Attributes& attributes, std::uint32_t content_objects) {
  if (attributes.limits_size() != static_cast<int>(RLIM_NLIMITS)) {
    fail(ErrorKind::Damaged, "the snapshot has {} resource limits instead of {}", attributes.limits_size(),
         static_cast<int>(RLIM_NLIMITS));
  }
  check_local_descriptors(attributes);
  check_directories(attributes, content_objects);
}

void restore_attributes_inside(NewbornContext& /*context*/, const image::Attributes& attributes) {
  lift_soft_limits_inside();
  const std::uint32_t huge_pages = attributes.huge_pages_disabled();
  if (huge_pages != 0 && ::prctl(PR_SET_THP_DISABLE, 1, huge_pages & ~1U, 0, 0) != 0) {
    fail_errno(errno, "cannot turn huge pages off");
  }
  if (::prctl(PR_SET_CHILD_SUBREAPER, attributes.child_subreaper() ? 1 : 0, 0, 0, 0) != 0) {
    fail_errno(errno, "cannot set the child subreaper attribute");
  }
}

void restore_directories_inside(NewbornContext& context, const image::Attributes& attributes) {
  if (attributes.has_directories_of()) return;
  enter_directories_inside(context, attributes);
  ::umask(attributes.umask());
}

void restore_attributes(RestoreContext& context, const image::Attributes& attributes) {
  restore_oom_score_adjustment(context, attributes.oom_score_adjustment());
  restore_core_dump_filter(context, attributes.core_dump_filter());
  if (attributes.memory_merge())
    context.remote.call("prctl(PR_SET_MEMORY_MERGE)", SYS_prctl, kSetMemoryMerge, 1, 0, 0, 0);
  restore_limits(context, attributes.limits());
}

void restore_state_components(RestoreContext& context, const image::Attributes& attributes) {
  if ((attributes.state_components() & kComponentsOnRequest) == 0) return;
  context.remote.call("arch_prctl(ARCH_REQ_XCOMP_PERM)", SYS_arch_prctl, kRequestComponentPermission, kTileComponent);
}

void finish_attributes(RestoreContext& context, const image::Attributes& attributes) {
  finish_limits(context, attributes.limits());
  RemoteCaller& remote = context.remote;
  if (attributes.deny_write_execute() != 0 && !context.has_anothers_memory) {
    remote.call("prctl(PR_SET_MDWE)", SYS_prctl, kSetMdwe, attributes.deny_write_execute(), 0, 0, 0);
  }
  for (const auto& [tid, thread] : context.threads) {
    if (attributes.time_stamp_faults()) thread->call("prctl(PR_SET_TSC)", SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
    if (attributes.cpuid_faults()) thread->call("arch_prctl(ARCH_SET_CPUID)", SYS_arch_prctl, kSetCpuid, 0);
  }
  if (attributes.chooses_timer_ids())
    remote.call("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, kTimerIds, kTimerIdsOn, 0, 0, 0);
  if (context.has_anothers_memory) return;
  // 2, "readable by root only", can be had by executing a file alone (proc_sys_fs(5), suid_dumpable); 0 is as closed.
  const std::uint32_t dumpable = attributes.dumpable() == 1 ? 1 : 0;
  remote.call("prctl(PR_SET_DUMPABLE)", SYS_prctl, PR_SET_DUMPABLE, dumpable);
}

}  // namespace crs::engine
