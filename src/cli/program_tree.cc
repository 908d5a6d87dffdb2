#include "cli/program_tree.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <ranges>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"

namespace crs::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Until all of a tree stand still, on a machine that has much else to do.
constexpr std::chrono::seconds kStopLimit{10};
constexpr std::chrono::milliseconds kPause{1};
// Until those that were killed are gone.
constexpr std::chrono::seconds kLongestEnd{10};

bool is_gone(const Error& error) { return error.kind() == ErrorKind::ProgramGone || error.error_number() == ESRCH; }

// Nothing: it has ended.
std::optional<FileDescriptor> try_to_open(pid_t pid) {
  try {
    return engine::open_process(pid);
  } catch (const Error& error) {
    if (is_gone(error)) return std::nullopt;
    throw;
  }
}

// Returns 0 or the errno.
int send_signal(const FileDescriptor& process, int signal) {
  return ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0 ? 0 : errno;
}

// Or waits to be taken away by its parent: its id is nobody else's.
bool is_there(const FileDescriptor& process) { return send_signal(process, 0) != ESRCH; }

// proc_pid_status(5), "State"; 'X' of one that is gone.
char state_letter(pid_t tid) {
  try {
    const engine::ProcessStatus status = engine::ProcessStatus::of(tid);
    const std::string_view state = status.field("State").value_or("");
    return state.empty() ? 'X' : state.front();
  } catch (const Error& error) {
    if (is_gone(error)) return 'X';
    throw;
  }
}

bool may_make_processes(pid_t tid) {
  // One in a sleep that no signal ends (D) waits for its own child, after vfork(2), or for a device.
  const char state = state_letter(tid);
  return state == 'R' || state == 'S';
}

// Whether it has by then. A restart that follows may want its id.
bool wait_until_ended(const FileDescriptor& process, Clock::time_point end) {
  pollfd entry{.fd = process.get(), .events = POLLIN, .revents = 0};
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
  return ::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(rest, 0))) == 1;
}

// SIGSTOP takes its time: a thread may be in the middle of fork(2), which it finishes.
bool stands_still(pid_t pid) {
  std::error_code gone;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
    if (may_make_processes(static_cast<pid_t>(std::stol(tasks->path().filename())))) return false;
  }
  return true;
}

}  // namespace

ProgramTree::ProgramTree(pid_t root) {
  const pid_t pid = engine::living_thread_of(root);
  members_.push_back({.pid = pid, .process = engine::open_process(pid)});
}

bool ProgramTree::knows(pid_t pid) const {
  return std::ranges::any_of(members_, [pid](const Member& one) { return one.pid == pid && is_there(one.process); });
}

// Whoever belongs to the tree now. Where its root has ended, and of those that have lost their parent since they were
// found: the children of all that are known.
std::vector<pid_t> ProgramTree::listed() const {
  std::vector<pid_t> pids;
  const auto add = [&](const Member& parent, const auto& found) {
    if (is_there(parent.process)) pids.insert(pids.end(), found.begin(), found.end());  // not by another's id
  };
  try {
    add(members_.front(), engine::tree_of(members_.front().pid) | std::views::transform(&engine::TreeProcess::pid));
  } catch (const Error& error) {
    if (!is_gone(error)) throw;
  }
  for (const Member& member : members_) {
    add(member, engine::children_of(member.pid) | std::views::transform(engine::living_thread_of));
  }
  return pids;
}

// False: all were known. An id that was listed may be another's by the time that it is opened: it counts only if it is
// listed once more.
bool ProgramTree::find_others() {
  std::map<pid_t, FileDescriptor> opened;
  for (const pid_t pid : listed()) {
    if (knows(pid) || opened.contains(pid)) continue;
    if (std::optional<FileDescriptor> process = try_to_open(pid)) opened.emplace(pid, std::move(*process));
  }
  if (opened.empty()) return false;
  for (const pid_t pid : listed()) {
    auto found = opened.extract(pid);
    if (found && is_there(found.mapped())) members_.push_back({.pid = pid, .process = std::move(found.mapped())});
  }
  return true;
}

void ProgramTree::look() noexcept {
  try {
    raise_descriptor_limit();
    find_others();
  } catch (const std::exception&) {  // the end looks again, and says why
  }
}

void ProgramTree::note_stopped() noexcept {
  try {
    raise_descriptor_limit();
    find_others();
    for (Member& member : members_ | std::views::drop(1)) member.was_stopped = state_letter(member.pid) == 'T';
  } catch (const std::exception&) {  // then they are continued, too
  }
}

void ProgramTree::go_on() noexcept {
  look();  // the root goes on in any case
  for (Member& member : members_ | std::views::reverse) {
    if (member.was_stopped) continue;
    member.told_to_stop = false;
    send_signal(member.process, SIGCONT);
  }
}

// The kernel closes what a process has open a moment before the process has ended (do_exit in kernel/exit.c).
bool ProgramTree::root_has_ended() const {
  constexpr std::chrono::seconds kMoment(2);
  return wait_until_ended(members_.front().process, Clock::now() + kMoment);
}

void ProgramTree::stop() {
  raise_descriptor_limit();
  const auto end = Clock::now() + kStopLimit;
  do {
    for (Member& member : members_) {
      if (std::exchange(member.told_to_stop, true)) continue;
      const int problem = send_signal(member.process, SIGSTOP);
      if (problem != 0 && problem != ESRCH) fail_errno(problem, "stopping process {}", member.pid);
    }
    for (const Member& member : members_) {
      while (is_there(member.process) && !stands_still(member.pid)) {
        if (Clock::now() > end) fail(ErrorKind::Failed, "process {} has not stopped in time", member.pid);
        std::this_thread::sleep_for(kPause);
      }
    }
    if (Clock::now() > end)
      fail(ErrorKind::Failed, "process {} makes new processes faster than they can be stopped", members_.front().pid);
  } while (find_others());
}

// Children first: where a parent ends, the kernel may continue those of its children that are only stopped
// (setpgid(2), orphaned process groups).
void ProgramTree::end() {
  std::optional<Error> problem;
  try {
    stop();
  } catch (const Error& error) {
    problem = error;
  }
  for (const Member& member : members_ | std::views::reverse) {
    const int failed = send_signal(member.process, SIGKILL);
    if (failed != 0 && failed != ESRCH && !problem)
      problem = Error::from_errno(fmt::format("ending process {}", member.pid), failed);
  }
  for (const auto until = Clock::now() + kLongestEnd; const Member& member : members_)
    wait_until_ended(member.process, until);
  if (problem) throw *problem;
}

}  // namespace crs::cli
