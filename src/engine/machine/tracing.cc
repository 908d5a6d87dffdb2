// Looking into another process: what a checkpoint needs.
#include <elf.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "engine/machine/machine.h"
#include "engine/machine/trial.h"

namespace crs::engine {
namespace {

// linux/ptrace.h cannot be included beside sys/ptrace.h.
constexpr auto kGetSyscallInfo = static_cast<__ptrace_request>(0x420e);
constexpr auto kGetRseqConfiguration = static_cast<__ptrace_request>(0x420f);

// Attaches to `pid`, stops it, asks one thing. The attachment ends with the child of the trial that calls this.
template <typename Question>
int with_stopped(pid_t pid, Question question) {
  if (::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) != 0) return errno;
  if (::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr) != 0) return errno;
  int status = 0;
  if (::waitpid(pid, &status, __WALL) != pid) return errno;
  return question();
}

int ask_syscall_info(pid_t pid) {
  return with_stopped(pid, [&] {
    std::array<std::byte, 128> information{};
    return errno_of(::ptrace(kGetSyscallInfo, pid, information.size(), information.data()));
  });
}

int ask_rseq(pid_t pid) {
  return with_stopped(pid, [&] {
    std::array<std::byte, 64> configuration{};
    return errno_of(::ptrace(kGetRseqConfiguration, pid, configuration.size(), configuration.data()));
  });
}

int ask_extended_registers(pid_t pid) {
  return with_stopped(pid, [&] {
    std::array<std::byte, 16384> state{};
    iovec area{state.data(), state.size()};
    return errno_of(::ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &area));
  });
}

int read_memory(pid_t pid) {
  // The stack of a fork lies where that of its parent does.
  std::uint64_t here = 1;
  std::uint64_t there = 0;
  const iovec to{&there, sizeof there};
  const iovec from{&here, sizeof here};
  return errno_of(::process_vm_readv(pid, &to, 1, &from, 1, 0));
}

int take_descriptor(pid_t pid) {
  const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return errno;
  // Any of the standard streams: main() has seen to it that they are open.
  const FileDescriptor taken(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), STDERR_FILENO, 0)));
  return taken ? 0 : errno;
}

int compare(pid_t pid) { return errno_of(::syscall(SYS_kcmp, ::getpid(), pid, KCMP_FILES, 0, 0)); }

int list_children(pid_t pid) {
  const std::string path = fmt::format("/proc/{0}/task/{0}/children", pid);
  return std::filesystem::exists(path) ? 0 : ENOENT;
}

int suspend_seccomp(pid_t pid) {
  return errno_of(::ptrace(PTRACE_SEIZE, pid, nullptr, std::uint64_t{PTRACE_O_SUSPEND_SECCOMP}));
}

std::string yama_words() {
  std::error_code problem;
  if (!std::filesystem::exists("/proc/sys/kernel/yama/ptrace_scope", problem)) return "";
  const std::string scope = read_file("/proc/sys/kernel/yama/ptrace_scope", 64);
  return fmt::format("Yama ptrace_scope is {}", scope.substr(0, scope.find('\n')));
}

MachineFact ptrace_fact(pid_t sibling) {
  // A sibling, not a child: this is how `crs checkpoint` stands to the program.
  const int result = try_in_child([&] { return with_stopped(sibling, [] { return 0; }); });
  std::string detail = yama_words();
  if (result != 0) detail = words_of_trial(result) + (detail.empty() ? "" : "; " + detail);
  return {
      .name = "ptrace",
      .available = result == 0,
      .essential = false,
      .detail = detail,
      .consequence =
          "only programs started with 'crs run' can be checkpointed, or root's 'sysctl kernel.yama.ptrace_scope=0' is "
          "needed; in a container, the capability SYS_PTRACE may be missing"};
}

struct Question {
  const char* name;
  bool essential;
  int (*ask)(pid_t);
  const char* consequence;
};

constexpr std::array<Question, 8> kQuestions = {{
    {"PTRACE_GETREGSET", true, ask_extended_registers, "registers cannot be kept"},
    {"PTRACE_GET_SYSCALL_INFO", true, ask_syscall_info, "Linux 5.3 or later is needed"},
    {"PTRACE_GET_RSEQ_CONFIGURATION", false, ask_rseq,
     "Linux 5.13 or later is needed for programs that use restartable sequences"},
    {"process_vm_readv", true, read_memory, "memory cannot be read"},
    {"pidfd_getfd", true, take_descriptor, "Linux 5.6 or later is needed to look at pipes and sockets"},
    {"kcmp", true, compare, "descriptors that share a file cannot be told apart from those that do not"},
    {"PTRACE_O_SUSPEND_SECCOMP", false, suspend_seccomp,
     "only root, outside of containers, can checkpoint programs that run under seccomp filters of their own"},
    {"/proc/PID/task/TID/children", false, list_children, "finding the children of a program is slower"},
}};

// Of a child of the asking process, so that a restriction of ptrace to descendants does not hide the answer.
int ask_of_child(int (*ask)(pid_t)) {
  return try_in_child([&] {
    const WaitingChild child;
    return ask(child.pid());
  });
}

}  // namespace

int try_suspending_seccomp() { return ask_of_child(suspend_seccomp); }

std::vector<MachineFact> examine_tracing() {
  const WaitingChild sibling;
  std::vector<MachineFact> facts{ptrace_fact(sibling.pid())};
  for (const Question& question : kQuestions) {
    const int result = ask_of_child(question.ask);
    facts.push_back({.name = question.name,
                     .available = result == 0,
                     .essential = question.essential,
                     .detail = result == 0 ? "" : words_of_trial(result),
                     .consequence = question.consequence});
  }
  return facts;
}

}  // namespace crs::engine
