#include "engine/newborn/ids.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "engine/machine/capabilities.h"
#include "engine/newborn/maker.h"
#include "engine/procfs/tree.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {
namespace {

// CAP_CHECKPOINT_RESTORE is younger than this distribution's headers of some users; its number is fixed
// (capabilities(7)).
constexpr unsigned kCheckpointRestore = 40;

// A seccomp filter may hide clone3(2), which alone makes processes with an id of one's choice. Its arguments are too
// small here: no process is made.
bool can_ask_for_ids() { return ::syscall(SYS_clone3, nullptr, 0) < 0 && errno == EINVAL; }

// Asked of the kernel, by this process's own id, which is taken: the capability counts in the user namespace that has
// the process id namespace, and that may be another one.
bool may_choose_ids() {
  if (!has_capability(kCheckpointRestore) && !has_capability(CAP_SYS_ADMIN)) return false;
  try {
    if (clone_process(0, ::getpid(), SIGCHLD) == 0) ::_exit(0);  // it cannot be
    return false;
  } catch (const IdTaken&) {
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool may_be_signalled(pid_t id) { return ::kill(id, 0) == 0 || errno == EPERM; }

// Threads too have a folder in /proc, though it is not listed. And an id stays taken as that of a process group whose
// leader has ended. Those that stay taken as that of a session alone are `known` from an attempt to get them.
std::optional<pid_t> taken_id(const std::vector<pid_t>& ids, const std::set<pid_t>& known) {
  for (const pid_t id : ids) {
    if (known.contains(id)) return id;
    if (std::filesystem::exists(fmt::format("/proc/{}", id)) || may_be_signalled(id) || may_be_signalled(-id))
      return id;
  }
  return std::nullopt;
}

std::string user_of_id(pid_t id) {
  return may_be_signalled(id) ? fmt::format("'{}'", name_of_process(id))
                              : "a process group or session whose leader has ended";
}

// Tried for real in a child: limits, kernel settings and security modules all have a say.
bool can_make_namespaces(int kinds) {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) ::_exit(::unshare(kinds) == 0 ? 0 : 1);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

IdPlan fresh_plan(const std::string& why) {
  return {IdPlan::Way::Fresh,
          why +
              "the program runs under new process and thread ids; the C library's copies of them are corrected, those "
              "that the program itself holds are not",
          IdPlan::ThreadIds::New};
}

[[noreturn]] void fail_hidden(bool is_tree) {
  throw Error(ErrorKind::Failed, "nobody may choose process ids here: a seccomp filter hides clone3(2)")
      .advise(is_tree ? "Restart it outside of the container, or have a filter that lets clone3(2) through"
                      : "Use --ids new, or have a filter that lets it through");
}

IdPlan namespace_plan(std::string note, bool is_tree) {
  if (!can_ask_for_ids()) fail_hidden(is_tree);
  constexpr int kOfProcesses = CLONE_NEWPID | CLONE_NEWNS;
  if (has_capability(CAP_SYS_ADMIN) && can_make_namespaces(kOfProcesses))
    return {IdPlan::Way::ProcessNamespace, std::move(note)};
  if (can_make_namespaces(CLONE_NEWUSER | kOfProcesses)) return {IdPlan::Way::UserNamespace, std::move(note)};
  throw Error(ErrorKind::Failed, "this user may not make user namespaces here")
      .advise(is_tree ? "Have user.max_user_namespaces raised; see 'crs check'"
                      : "Use --ids new, or have user.max_user_namespaces raised; see 'crs check'");
}

}  // namespace

IdPlan plan_ids(Ids wanted, const std::vector<pid_t>& ids, bool is_tree, const std::set<pid_t>& known_taken) {
  if (wanted == Ids::New && is_tree) {
    throw Error(
        ErrorKind::Failed,
        "a program of several processes cannot be restarted under new process ids: they know each other by them")
        .advise("Use --ids namespace");
  }
  if (wanted == Ids::New) return fresh_plan({});
  if (wanted == Ids::Namespace) return namespace_plan({}, is_tree);
  const std::optional<pid_t> taken = taken_id(ids, known_taken);
  if (wanted == Ids::Keep) {
    if (!can_ask_for_ids()) fail_hidden(is_tree);
    if (!may_choose_ids()) {
      throw Error(ErrorKind::Failed, "this user may not choose process ids (CAP_CHECKPOINT_RESTORE)")
          .advise("Use --ids namespace or --ids new");
    }
    if (taken) {
      throw Error(ErrorKind::Failed, fmt::format("process id {} is in use by {}", *taken, user_of_id(*taken)))
          .advise("Use --ids namespace, or wait until it is free");
    }
    return {IdPlan::Way::InPlace, {}};
  }
  if (may_choose_ids() && !taken) return {IdPlan::Way::InPlace, {}};
  try {
    return namespace_plan(
        may_choose_ids()
            ? fmt::format("process id {} is in use here: the program runs in a private process id namespace", *taken)
            : std::string(),
        is_tree);
  } catch (const Error& error) {
    if (is_tree && taken && may_choose_ids()) {
      Error told(error);
      throw told.add_context(fmt::format("process id {} is in use by {}", *taken, user_of_id(*taken)));
    }
    if (is_tree) throw;
    return fresh_plan(can_ask_for_ids() ? "user namespaces cannot be had here: "
                                        : "nobody may choose process ids here (clone3(2)): ");
  }
}

namespace {

[[noreturn]] void refuse_caller(std::string_view why) {
  throw Error(ErrorKind::Failed, fmt::format("process {} cannot become the program of a snapshot: {}", ::getpid(), why))
      .advise("Let the program be restarted as a process of its own");
}

void check_caller() {
  // Orphans become children of the first process, the helper that rebuilds it among them.
  if (::getpid() == 1) refuse_caller("it is the first process of its namespace");
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  if (std::distance(begin(tasks), end(tasks)) != 1) refuse_caller("it has other threads");
  siginfo_t child{};
  if (::waitid(P_ALL, 0, &child, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL) == 0 || errno != ECHILD)
    refuse_caller("it has child processes");
}

}  // namespace

IdPlan plan_ids_of_caller(Ids wanted, const std::vector<pid_t>& ids, bool is_tree) {
  check_caller();
  if (is_tree) refuse_caller("the program has several processes");
  if (wanted == Ids::Namespace) {
    throw Error(ErrorKind::Usage, "a process that becomes the program cannot do so in a private namespace")
        .advise("Use --ids keep or --ids new");
  }
  IdPlan plan{IdPlan::Way::Caller, {}, IdPlan::ThreadIds::New};
  if (wanted == Ids::New) return plan;
  const std::vector<pid_t> others(ids.begin() + 1, ids.end());
  const bool may_keep = others.empty() || (may_choose_ids() && !taken_id(others, {}));
  if (may_keep) plan.thread_ids = IdPlan::ThreadIds::KeepIfFree;
  if (ids.front() != ::getpid()) {
    plan.note = fmt::format("the program runs as process {} instead of {}", ::getpid(), ids.front());
  } else if (!may_keep) {
    plan.note = "the program's threads have new ids: this user may not choose them, or they are in use";
  }
  if (wanted == Ids::Keep && !plan.note.empty()) {
    throw Error(ErrorKind::Failed, fmt::format("the old ids cannot be kept: {}", plan.note)).advise("Use --ids new");
  }
  return plan;
}

}  // namespace crs::engine
