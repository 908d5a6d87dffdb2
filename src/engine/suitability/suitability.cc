#include "engine/suitability/suitability.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/io.h"
#include "engine/newborn/init.h"
#include "engine/procfs/status.h"
#include "engine/resources/credentials/seccomp.h"

namespace crs::engine {
namespace {

std::string status_field(pid_t pid, std::string_view name) {
  return std::string(ProcessStatus::of(pid).field(name).value_or(""));
}

std::string comm_of(pid_t pid) {
  try {
    std::string name = read_file(fmt::format("/proc/{}/comm", pid));
    if (!name.empty() && name.back() == '\n') name.pop_back();
    return name;
  } catch (const Error&) {
    return "?";
  }
}

// A thread may end while it is looked at: its children are another thread's by then, or those of whoever adopts them.
std::string children_of_thread(const std::filesystem::path& task) {
  try {
    return read_file(task / "children");
  } catch (const Error& error) {
    if (error.error_number() == ENOENT || error.error_number() == ESRCH) return {};
    throw;
  }
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    std::istringstream list(children_of_thread(task.path()));
    // A program that adopts orphans may have adopted the one that takes its snapshot.
    for (pid_t child = 0; list >> child;) {
      if (child != ::getpid()) children.push_back(child);
    }
  }
  return children;
}

void refuse_children(pid_t pid, Refusals& refusals) {
  std::string names;
  for (const pid_t child : children_of(pid))
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", child, comm_of(child));
  if (names.empty()) return;
  refusals.add(fmt::format("process {} has child processes: {}", pid, names),
               "only single processes can be checkpointed yet: wait until they end, or checkpoint one of them");
}

// proc(5): what /proc/PID/exe leads to may be asked only by who may trace the process.
void require_access(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/exe", pid);
  std::array<char, 1> ignored{};
  if (::readlink(path.c_str(), ignored.data(), ignored.size()) >= 0 || errno != EACCES) return;
  throw Error(ErrorKind::Refused,
              fmt::format("process {} may not be looked at: it is not dumpable (prctl(2), PR_SET_DUMPABLE), or it has "
                          "changed its user ids or has privileges that you do not have",
                          pid))
      .advise("Take the snapshot as root");
}

void refuse_tracer(pid_t pid, Refusals& refusals) {
  const std::string tracer = status_field(pid, "TracerPid");
  if (tracer.empty() || tracer == "0" || tracer == std::to_string(::getpid())) return;
  refusals.add(
      fmt::format("process {} is being traced by process {} ({})", pid, tracer, comm_of(std::atoi(tracer.c_str()))),
      "end the debugger or the other checkpoint first");
}

// Before any code is looked for in it; the room of the processor looks again at what the stopped thread runs.
void refuse_32_bit(pid_t pid, Refusals& refusals) {
  std::array<std::byte, EI_NIDENT> identity{};
  const FileDescriptor executable = open_file(fmt::format("/proc/{}/exe", pid), O_RDONLY);
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
        .advise("`crs list` shows the jobs that run");
  }
  if (pid == ::getpid()) fail(ErrorKind::Usage, "process {} is this very command: it cannot checkpoint itself", pid);
  const std::string state = status_field(pid, "State");
  if (state.starts_with("Z") || state.starts_with("X")) {
    throw Error(
        ErrorKind::NotFound,
        fmt::format("process {} ({}) has ended and only waits for its parent to notice (a zombie)", pid, comm_of(pid)))
        .advise("There is nothing left to save");
  }
  if (status_field(pid, "VmSize").empty())
    fail(ErrorKind::Refused, "process {} ({}) is a kernel thread", pid, comm_of(pid));
}

void refuse_unsuitable(pid_t pid, Refusals& refusals) {
  require_access(pid);
  refuse_children(pid, refusals);
  refuse_tracer(pid, refusals);
  refuse_seccomp(pid, refusals);
  refuse_32_bit(pid, refusals);
}

// The init of a restart's process id namespace is known by its name and by being the program's parent. A program that
// calls itself so gains nothing: it is this user's too.
bool is_made_by_restart(pid_t pid, std::string_view kind) {
  if (kind != "user" && kind != "pid" && kind != "mnt") return false;
  return comm_of(static_cast<pid_t>(ProcessStatus::of(pid).number("PPid"))) == kInitName;
}

}  // namespace crs::engine
