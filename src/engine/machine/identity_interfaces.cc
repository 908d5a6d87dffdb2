// Process ids, namespaces, clocks and timers: what a restart needs to give a program its identity back.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "engine/machine/machine.h"
#include "engine/machine/trial.h"

namespace crs::engine {
namespace {

constexpr int kTimerCreateRestoreIds = 77;  // linux/prctl.h of Linux 6.15
constexpr int kRestoreIdsGet = 2;

int write_text(const char* path, const std::string& text) {
  const FileDescriptor file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  return errno_of(::write(file.get(), text.data(), text.size()));
}

// A child with the process id `wanted`, in this pid namespace (clone3(2), set_tid).
int clone_with_id(pid_t wanted) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
  arguments.set_tid_size = 1;
  const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0) ::_exit(0);
  if (child < 0) return errno == EEXIST ? 0 : errno;  // taken, so the right to choose was there
  ::waitpid(static_cast<pid_t>(child), nullptr, 0);
  return child == wanted ? 0 : EINVAL;
}

// The highest possible id: hardly ever in use.
pid_t last_process_id() {
  const std::string text = read_file("/proc/sys/kernel/pid_max", 64);
  pid_t limit = 32768;
  std::from_chars(text.data(), text.data() + text.size(), limit);
  return limit - 1;
}

// As user_namespaces(7) has it for a process without capabilities: setgroups is denied before gid_map is written.
int enter_user_namespace(int more) {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWUSER | more) != 0) return errno;
  if (const int result = write_text("/proc/self/setgroups", "deny"); result != 0) return result;
  if (const int result = write_text("/proc/self/uid_map", fmt::format("{0} {0} 1", user)); result != 0) return result;
  return write_text("/proc/self/gid_map", fmt::format("{0} {0} 1", group));
}

int mount_proc_as_init() {
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) return errno;
  constexpr pid_t kSomeId = 4242;
  return clone_with_id(kSomeId);
}

int private_process_ids() {
  if (const int result = enter_user_namespace(CLONE_NEWPID | CLONE_NEWNS); result != 0) return result;
  return try_in_child(mount_proc_as_init);  // the first child is process 1 of the namespace
}

int private_clocks() {
  if (const int result = enter_user_namespace(CLONE_NEWTIME); result != 0) return result;
  return write_text("/proc/self/timens_offsets", "monotonic 1000 0\nboottime 1000 0\n");
}

int timer_ids() { return errno_of(::prctl(kTimerCreateRestoreIds, kRestoreIdsGet, 0, 0, 0)); }

std::string capability_words() {
  constexpr unsigned kCheckpointRestore = 40;  // linux/capability.h
  constexpr unsigned kSysAdmin = 21;
  const std::string status = read_file("/proc/self/status", 65536);
  const std::size_t place = status.find("\nCapEff:\t");
  std::uint64_t effective = 0;
  if (place != std::string::npos)
    std::from_chars(status.data() + place + 9, status.data() + status.size(), effective, 16);
  const bool held = (effective & (std::uint64_t{1} << kCheckpointRestore | std::uint64_t{1} << kSysAdmin)) != 0;
  return held ? "CAP_CHECKPOINT_RESTORE held" : "CAP_CHECKPOINT_RESTORE not held";
}

MachineFact fact(const char* name, int result, const char* consequence) {
  return {.name = name,
          .available = result == 0,
          .essential = false,
          .detail = result == 0 ? "" : words_of_trial(result),
          .consequence = consequence};
}

}  // namespace

std::vector<MachineFact> examine_identity_interfaces() {
  const pid_t last = last_process_id();
  const int in_place_result = try_in_child([last] { return clone_with_id(last); });
  MachineFact in_place = fact(
      "process ids in place", in_place_result,
      in_place_result == ENOSYS
          ? "a seccomp filter hides clone3(2): a program of one process gets new ids, others cannot be restarted here"
          : "'crs restart --ids keep' is for root or CAP_CHECKPOINT_RESTORE; the old ids come back in a private "
            "namespace");
  in_place.detail += (in_place.detail.empty() ? "" : "; ") + capability_words();
  return {in_place,
          fact("user and pid namespaces", try_in_child(private_process_ids),
               "without root a restarted program gets new process ids (--ids new)"),
          fact("time namespaces", try_in_child(private_clocks), "a restarted program sees the monotonic clock jump"),
          fact("PR_TIMER_CREATE_RESTORE_IDS", try_in_child(timer_ids),
               "before Linux 6.15 putting back many POSIX timers takes longer")};
}

}  // namespace crs::engine
