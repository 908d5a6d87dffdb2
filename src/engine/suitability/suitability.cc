#include "engine/suitability/suitability.h"

#include <elf.h>
#include <fmt/format.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/io.h"
#include "engine/newborn/init.h"

namespace crs::engine {
namespace {

std::string status_field(pid_t pid, std::string_view name) {
  const std::string status = read_file(fmt::format("/proc/{}/status", pid));
  const std::size_t start = status.find(fmt::format("\n{}:\t", name));
  if (start == std::string::npos) return {};
  const std::size_t value = start + name.size() + 3;
  return status.substr(value, status.find('\n', value) - value);
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

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    std::istringstream list(read_file(task.path() / "children"));
    for (pid_t child = 0; list >> child;) children.push_back(child);
  }
  return children;
}

void refuse_children(pid_t pid, Refusals& refusals) {
  std::string names;
  for (const pid_t child : children_of(pid)) names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", child, comm_of(child));
  if (names.empty()) return;
  refusals.add(fmt::format("process {} has child processes: {}", pid, names),
               "only single processes can be checkpointed yet: wait until they end, or checkpoint one of them");
}

void refuse_tracer(pid_t pid, Refusals& refusals) {
  const std::string tracer = status_field(pid, "TracerPid");
  if (tracer.empty() || tracer == "0" || tracer == std::to_string(::getpid())) return;
  refusals.add(fmt::format("process {} is being traced by process {} ({})", pid, tracer, comm_of(std::atoi(tracer.c_str()))),
               "end the debugger or the other checkpoint first");
}

void refuse_seccomp(pid_t pid, Refusals& refusals) {
  const std::string mode = status_field(pid, "Seccomp");
  if (mode.empty() || mode == "0") return;
  refusals.add(fmt::format("process {} runs under a seccomp {}", pid, mode == "1" ? "strict mode" : "filter"),
               "the kernel does not let it be read and put back without privileges; start the program without it");
}

void refuse_32_bit(pid_t pid, Refusals& refusals) {
  std::array<std::byte, EI_NIDENT> identity{};
  const FileDescriptor executable = open_file(fmt::format("/proc/{}/exe", pid), O_RDONLY);
  if (::pread(executable.get(), identity.data(), identity.size(), 0) != static_cast<ssize_t>(identity.size())) return;
  if (std::to_integer<int>(identity[EI_CLASS]) == ELFCLASS32) {
    refusals.add(fmt::format("process {} is a 32-bit program", pid), "only 64-bit x86 programs can be kept; use a 64-bit build");
  }
}

std::uint64_t namespace_of(const std::string& process, std::string_view kind) {
  struct stat information {};
  const std::string path = fmt::format("/proc/{}/ns/{}", process, kind);
  if (::stat(path.c_str(), &information) != 0) fail_errno(errno, "cannot look at {}", path);
  return information.st_ino;
}

void refuse_foreign_namespaces(pid_t pid, Refusals& refusals) {
  const bool ours = in_private_namespace(pid);
  for (const std::string_view kind : {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"}) {
    const bool made_by_restart = kind == "user" || kind == "pid" || kind == "mnt";
    if (ours && made_by_restart) continue;
    if (namespace_of(std::to_string(pid), kind) == namespace_of("self", kind)) continue;
    refusals.add(fmt::format("process {} is in a {} namespace of its own (a container?)", pid, kind),
                 "run crs inside that container");
  }
}

}  // namespace

void check_is_program(pid_t pid) {
  if (pid <= 0 || !std::filesystem::exists(fmt::format("/proc/{}", pid))) {
    throw Error(ErrorKind::NotFound, fmt::format("there is no process {}", pid)).advise("`crs list` shows the jobs that run");
  }
  if (pid == ::getpid()) fail(ErrorKind::Usage, "process {} is this very command: it cannot checkpoint itself", pid);
  const std::string state = status_field(pid, "State");
  if (state.starts_with("Z") || state.starts_with("X")) {
    throw Error(ErrorKind::NotFound, fmt::format("process {} ({}) has ended and only waits for its parent to notice (a zombie)", pid, comm_of(pid)))
        .advise("There is nothing left to save");
  }
  if (status_field(pid, "VmSize").empty()) fail(ErrorKind::Refused, "process {} ({}) is a kernel thread", pid, comm_of(pid));
}

void refuse_unsuitable(pid_t pid, Refusals& refusals) {
  refuse_children(pid, refusals);
  refuse_tracer(pid, refusals);
  refuse_seccomp(pid, refusals);
  refuse_32_bit(pid, refusals);
  refuse_foreign_namespaces(pid, refusals);
}

// The init of a restart's process id namespace is known by its name and by being this user's. A program that calls itself so gains
// nothing: it is this user's too.
bool in_private_namespace(pid_t pid) {
  if (namespace_of(std::to_string(pid), "pid") == namespace_of("self", "pid")) return false;
  const std::string parent = status_field(pid, "PPid");
  return !parent.empty() && comm_of(std::atoi(parent.c_str())) == kInitName;
}

}  // namespace crs::engine
